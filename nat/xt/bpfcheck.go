package xt

import (
	"errors"
	"fmt"
)

// check tells why the kernel refuses a program (bpf_check_classic).
func (p bpfProgram) check() error {
	for i, in := range p {
		if bad := in.bad(len(p) - i - 1); bad != "" {
			return fmt.Errorf("instruction %d, \"%s\": %s", i, p[i:i+1], bad)
		}
	}
	if p[len(p)-1].code&bpfClass != bpfReturn {
		return errors.New("the last instruction does not return")
	}
	return p.checkMemory()
}

// bad tells what is wrong with an instruction that so many follow.
func (in bpfInstruction) bad(left int) string {
	const none = "there is no such instruction"
	if in.code > 0xff {
		return none
	}
	switch class := in.code & bpfClass; class {
	case bpfLoad, bpfLoadX:
		return in.badLoad(none)
	case bpfStore, bpfStoreX:
		if in.code != class {
			return none
		}
		return in.badMemory()
	case bpfCompute:
		return in.badComputation(none)
	case bpfJump:
		op, to := in.code&bpfOpMask, max(uint64(in.jt), uint64(in.jf))
		if op == bpfAlways {
			to = uint64(in.k)
		}
		switch {
		case op > bpfSet, in.code == bpfJump|bpfX:
			return none
		case to >= uint64(left):
			return "it jumps behind the end"
		}
	case bpfReturn:
		if in.code != bpfReturn && in.code != bpfReturn|bpfReturnA {
			return none
		}
	case bpfMove:
		if in.code != bpfMove && in.code != bpfMove|bpfToA {
			return none
		}
	}
	return ""
}

func (in bpfInstruction) badMemory() string {
	if in.k >= bpfMemory {
		return fmt.Sprintf("memory has %d words", bpfMemory)
	}
	return ""
}

// checkMemory tells where a word of memory may be read that nothing was written to (check_load_and_stores).
func (p bpfProgram) checkMemory() error {
	arriving := make([]uint16, len(p)) // words that were not written on some way to an instruction
	missing, reached := ^uint16(0), true
	for i, in := range p {
		if !reached {
			missing = 0
		}
		missing |= arriving[i]
		reached = true
		switch in.code & bpfClass {
		case bpfStore, bpfStoreX:
			missing &^= 1 << in.k
		case bpfLoad, bpfLoadX:
			if in.code&bpfModeMask == bpfMem && missing&(1<<in.k) != 0 {
				return fmt.Errorf("instruction %d, \"%s\": nothing was written there", i, p[i:i+1])
			}
		case bpfJump:
			targets := []int{i + 1 + int(in.jt), i + 1 + int(in.jf)}
			if in.code&bpfOpMask == bpfAlways {
				targets = []int{i + 1 + int(in.k)}
			}
			for _, to := range targets {
				arriving[to] |= missing
			}
			reached = false
		}
	}
	return nil
}

func (in bpfInstruction) badLoad(none string) string {
	mode, size := in.code&bpfModeMask, in.code&bpfSizeMask
	ok := false
	switch mode {
	case bpfImm, bpfMem, bpfLength:
		ok = size == bpfWord
	case bpfAbsolute, bpfIndirect:
		ok = in.code&bpfClass == bpfLoad && size != bpfSizeMask
	case bpfHeader:
		ok = in.code&bpfClass == bpfLoadX && size == bpfByte
	}
	switch {
	case !ok:
		return none
	case mode == bpfMem:
		return in.badMemory()
	case mode == bpfAbsolute && in.k >= bpfAncillary && (in.k-bpfAncillary > bpfLastAncillary || in.k%4 != 0):
		return "nothing is known of that beside the packet"
	}
	return ""
}

func (in bpfInstruction) badComputation(none string) string {
	constant := in.code&bpfX == 0
	switch op := in.code & bpfOpMask; {
	case op > bpfXor || op == bpfNegate && !constant:
		return none
	case (op == bpfDiv || op == bpfMod) && constant && in.k == 0:
		return "it divides by 0"
	case (op == bpfLeft || op == bpfRight) && constant && in.k > 31:
		return "it shifts by more than 31"
	}
	return ""
}
