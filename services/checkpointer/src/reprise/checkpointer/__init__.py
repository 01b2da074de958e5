"""checkpointer"""
