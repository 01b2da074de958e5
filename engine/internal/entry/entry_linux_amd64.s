#include "textflag.h"

// The kernel enters here (engine/build.sh). SP is at argc; what lies above it stays as it is, for run and for Go.
// run has no arguments and no results. It expects a g in R14 and zero in X15 (cmd/compile/abi-internal.md).
TEXT reprise_entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ	SP, ·stack(SB)
	LEAQ	·zeros(SB), R14
	XORPS	X15, X15
	MOVQ	·start(SB), DX
	CALL	(DX)
	JMP	_rt0_amd64_linux(SB)
