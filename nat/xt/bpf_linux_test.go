//go:build !core

package xt_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// bpfCodes are all instructions that there are.
var bpfCodes = []uint16{
	0x00, 0x01, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x61, 0x80, 0x81, 0xb1, 0x02, 0x03, 0x07, 0x87, 0x06, 0x16,
	0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x94, 0x9c, 0xa4, 0xac,
	0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d,
}

// The kernel takes the programs that the match takes, and what they make of a packet is the same: they are put on a socket,
// which then gets the packet or does not.
func TestBPFAsTheKernelRunsIt(t *testing.T) {
	t.Parallel()
	packets := []*packet.Packet{
		visitOf(t, tcp4, fields{TCP: packet.TCP{Flags: 2, Seq: 0x80000001}}).Wire, visitOf(t, udp6, fields{Payload: []byte{1, 2, 3}}).Wire,
	}
	rapid.Check(t, func(t *rapid.T) {
		program := drawBPF(t)
		text := make([]string, len(program))
		for i, in := range program {
			text[i] = fmt.Sprintf("%d %d %d %d", in.Code, in.Jt, in.Jf, in.K)
		}
		rule, wrong := iptables.ParseRule(fmt.Sprintf(`-m bpf --bytecode "%d,%s"`, len(text), strings.Join(text, ",")), nat.IPv4)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer func() { require.NoError(t, errors.Join(unix.Close(pair[0]), unix.Close(pair[1]))) }()
		refused := unix.SetsockoptSockFprog(pair[1], unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
		require.Equal(t, refused != nil, wrong != nil, "the kernel: %v; natlab: %v: %q", refused, wrong, text)
		if wrong != nil {
			return
		}
		for _, p := range packets {
			_, err := unix.Write(pair[0], p.Bytes())
			require.NoError(t, err)
			_, err = unix.Read(pair[1], make([]byte, 128))
			got := rule.Matches[0].Holds(&rules.Visit{Packet: &rules.Packet{Tuple: p.Tuple(), Wire: p}})
			require.Equal(t, rules.Is(err == nil, false), got, "%q for %s", text, p)
		}
	})
}

// drawBPF draws a program that is mostly right.
func drawBPF(t *rapid.T) (program []unix.SockFilter) {
	n := rapid.IntRange(1, 16).Draw(t, "instructions")
	for i := range n {
		in := unix.SockFilter{
			Code: rapid.SampledFrom(bpfCodes).Draw(t, "code"), Jt: uint8(rapid.IntRange(0, n-i-1).Draw(t, "jt")), Jf: uint8(rapid.IntRange(0, n-i-1).Draw(t, "jf")),
			K: rapid.OneOf(rapid.Uint32Range(0, 20), rapid.SampledFrom([]uint32{31, 32, 37, 38, 60, 0xff, 0xffff, 0x80000000, 0xffffffff, 0xfffff000 + 40, 0xfffff000 + 41, 0xfffff000 + 64})).Draw(t, "k"),
		}
		switch rapid.IntRange(0, 30).Draw(t, "odd") {
		case 0:
			in.Code = rapid.Uint16Range(0, 300).Draw(t, "any code")
		case 1: // what is kept is there
			in.Code, in.K = 0x02, in.K%16
		}
		program = append(program, in)
	}
	if rapid.IntRange(0, 20).Draw(t, "end") > 0 {
		program[n-1] = unix.SockFilter{Code: rapid.SampledFrom([]uint16{0x06, 0x16, 0x16}).Draw(t, "return"), K: 1}
	}
	return program
}
