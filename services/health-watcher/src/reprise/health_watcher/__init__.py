"""health-watcher"""
