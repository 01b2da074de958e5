#include "textflag.h"

// As entry_linux_amd64.s. run expects a g in R28.
TEXT reprise_entry(SB),NOSPLIT|NOFRAME,$0
	MOVD	RSP, R0
	MOVD	R0, ·stack(SB)
	MOVD	$·zeros(SB), g
	MOVD	·start(SB), R26
	MOVD	(R26), R0
	CALL	(R0)
	JMP	_rt0_arm64_linux(SB)
