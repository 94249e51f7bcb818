package xt

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// bpfProgram is a classic BPF program (linux/filter.h, net/core/filter.c).
type bpfProgram []bpfInstruction

// bpfInstruction is struct sock_filter { __u16 code; __u8 jt, jf; __u32 k; }.
type bpfInstruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const (
	bpfInstructionSize = 8
	bpfMemory          = 16 // BPF_MEMWORDS
)

// Parts of an instruction's code: its class, what it loads and from where, and what it computes (linux/bpf_common.h).
const (
	bpfLoad     = 0x00
	bpfLoadX    = 0x01
	bpfStore    = 0x02
	bpfStoreX   = 0x03
	bpfCompute  = 0x04
	bpfJump     = 0x05
	bpfReturn   = 0x06
	bpfMove     = 0x07
	bpfClass    = 0x07
	bpfWord     = 0x00
	bpfHalf     = 0x08
	bpfByte     = 0x10
	bpfSizeMask = 0x18
	bpfImm      = 0x00
	bpfAbsolute = 0x20
	bpfIndirect = 0x40
	bpfMem      = 0x60
	bpfLength   = 0x80
	bpfHeader   = 0xa0 // 4*([k]&0xf)
	bpfModeMask = 0xe0
	bpfAdd      = 0x00
	bpfSub      = 0x10
	bpfMul      = 0x20
	bpfDiv      = 0x30
	bpfOr       = 0x40
	bpfAnd      = 0x50
	bpfLeft     = 0x60
	bpfRight    = 0x70
	bpfNegate   = 0x80
	bpfMod      = 0x90
	bpfXor      = 0xa0
	bpfAlways   = 0x00
	bpfEqual    = 0x10
	bpfGreater  = 0x20
	bpfNotLess  = 0x30
	bpfSet      = 0x40
	bpfOpMask   = 0xf0
	bpfX        = 0x08 // the operand is X, not k
	bpfReturnA  = 0x10
	bpfToA      = 0x80 // TXA; else TAX
)

// Offsets that are no places in the packet: ancillary data, from the network header on, and from the frame on (SKF_*_OFF).
const (
	bpfAncillary = 0xfffff000
	bpfNetwork   = 0xfff00000
	bpfFrame     = 0xffe00000

	bpfProtocol = 0 // SKF_AD_PROTOCOL
	bpfType     = 4
	bpfMark     = 20
	bpfXorX     = 40 // SKF_AD_ALU_XOR_X

	bpfLastAncillary = 60 // SKF_AD_VLAN_TPID
)

// readInstruction reads "CODE JT JF K", in decimal.
func readInstruction(s string) (in bpfInstruction, ok bool) {
	words := strings.Fields(s)
	if len(words) != 4 {
		return in, false
	}
	var n [4]uint64
	for i, bits := range []int{16, 8, 8, 32} {
		var err error
		if n[i], err = strconv.ParseUint(words[i], 10, bits); err != nil {
			return in, false
		}
	}
	return bpfInstruction{uint16(n[0]), uint8(n[1]), uint8(n[2]), uint32(n[3])}, true
}

func decodeProgram(d []byte, count int) (p bpfProgram, ok bool) {
	if count == 0 || count > bpfMost {
		return nil, false
	}
	for i := range count {
		at := d[i*bpfInstructionSize:]
		p = append(p, bpfInstruction{order.Uint16(at), at[2], at[3], order.Uint32(at[4:])})
	}
	return p, p.check() == nil
}

func (p bpfProgram) encode(d []byte) {
	for i, in := range p {
		at := d[i*bpfInstructionSize:]
		order.PutUint16(at, in.code)
		at[2], at[3] = in.jt, in.jf
		order.PutUint32(at[4:], in.k)
	}
}

// String is the instructions as iptables prints them: "48 0 0 9,6 0 0 1".
func (p bpfProgram) String() string {
	var b strings.Builder
	for i, in := range p {
		fmt.Fprintf(&b, "%s%d %d %d %d", map[bool]string{true: ","}[i > 0], in.code, in.jt, in.jf, in.k)
	}
	return b.String()
}

// bpfMachine is a program that runs.
type bpfMachine struct {
	visit  *rules.Visit
	packet []byte
	a, x   uint32
	memory [bpfMemory]uint32
	// unknown: it asked for what is not known. out: it read behind the packet's end, or divided by 0, and returns 0.
	unknown, out bool
}

// run runs the program, which check found no fault with. known is false where it asks for what is not known.
func (p bpfProgram) run(v *rules.Visit) (n uint32, known bool) {
	m := bpfMachine{visit: v, packet: v.Wire.Bytes()}
	for at := 0; at < len(p); at++ {
		in := p[at]
		switch in.code & bpfClass {
		case bpfLoad:
			m.a = m.load(in)
		case bpfLoadX:
			m.x = m.load(in)
		case bpfStore:
			m.memory[in.k] = m.a
		case bpfStoreX:
			m.memory[in.k] = m.x
		case bpfCompute:
			m.a = m.compute(in.code&bpfOpMask, m.operand(in))
		case bpfJump:
			at += m.jump(in)
		case bpfReturn:
			if in.code&bpfReturnA != 0 {
				return m.a, true
			}
			return in.k, true
		case bpfMove:
			if in.code&bpfToA != 0 {
				m.a = m.x
			} else {
				m.x = m.a
			}
		}
		if m.out || m.unknown {
			return 0, !m.unknown
		}
	}
	return 0, true
}

func (m *bpfMachine) operand(in bpfInstruction) uint32 {
	if in.code&bpfX != 0 {
		return m.x
	}
	return in.k
}

func (m *bpfMachine) jump(in bpfInstruction) int {
	k, yes := m.operand(in), false
	switch in.code & bpfOpMask {
	case bpfAlways:
		return int(in.k)
	case bpfEqual:
		yes = m.a == k
	case bpfGreater:
		yes = m.a > k
	case bpfNotLess:
		yes = m.a >= k
	case bpfSet:
		yes = m.a&k != 0
	}
	if yes {
		return int(in.jt)
	}
	return int(in.jf)
}

// compute is a computation with A. Shifts by X are by its low five bits.
func (m *bpfMachine) compute(op uint16, k uint32) uint32 {
	const shifts = 31
	switch op {
	case bpfAdd:
		return m.a + k
	case bpfSub:
		return m.a - k
	case bpfMul:
		return m.a * k
	case bpfDiv, bpfMod:
		switch {
		case k == 0:
			m.out = true
			return 0
		case op == bpfDiv:
			return m.a / k
		}
		return m.a % k
	case bpfOr:
		return m.a | k
	case bpfAnd:
		return m.a & k
	case bpfLeft:
		return m.a << (k & shifts)
	case bpfRight:
		return m.a >> (k & shifts)
	case bpfXor:
		return m.a ^ k
	}
	return -m.a // bpfNegate
}

func (m *bpfMachine) load(in bpfInstruction) uint32 {
	switch in.code & bpfModeMask {
	case bpfImm:
		return in.k
	case bpfMem:
		return m.memory[in.k]
	case bpfLength:
		return uint32(len(m.packet))
	case bpfHeader:
		const units = 4
		return m.read(in.k, 1) & 0xf * units
	case bpfAbsolute:
		if in.k >= bpfAncillary {
			return m.ancillary(in.k - bpfAncillary)
		}
		return m.read(in.k, bpfSizes[in.code&bpfSizeMask])
	}
	return m.read(m.x+in.k, bpfSizes[in.code&bpfSizeMask])
}

var bpfSizes = map[uint16]int{bpfWord: 4, bpfHalf: 2, bpfByte: 1}

// read reads a number of the packet. Places are counted from the network header, where the packet begins; those of the frame
// in front of it are not there.
func (m *bpfMachine) read(at uint32, size int) uint32 {
	switch {
	case at >= bpfNetwork:
		at -= bpfNetwork
	case at >= bpfFrame:
		m.unknown = true
		return 0
	}
	if uint64(at)+uint64(size) > uint64(len(m.packet)) {
		m.out = true
		return 0
	}
	var word [4]byte
	copy(word[4-size:], m.packet[at:])
	return binary.BigEndian.Uint32(word[:])
}

// ancillary is what the kernel knows of a packet beside its bytes.
func (m *bpfMachine) ancillary(what uint32) uint32 {
	const ipv4, ipv6 = 0x0800, 0x86dd // ETH_P_IP, ETH_P_IPV6
	switch what {
	case bpfProtocol:
		if nat.FamilyOf(m.visit.Tuple.Src().Addr()) == nat.IPv6 {
			return ipv6
		}
		return ipv4
	case bpfType:
		return uint32(rules.FrameOf(m.visit))
	case bpfMark:
		return m.visit.Mark
	case bpfXorX:
		return m.a ^ m.x
	}
	m.unknown = true
	return 0
}
