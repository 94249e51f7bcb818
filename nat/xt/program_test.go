package xt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// What the little languages of u32 and bpf answer for a packet.
func TestProgramsAnswer(t *testing.T) {
	t.Parallel()
	checkMatches(t, []matchRow{
		// a word, from the IP header's first byte on; shifts, masks, and @, which moves to another header
		{`-m u32 --u32 "0x0>>0x18=0x45"`, tcp4, fields{}, yes},
		{`-m u32 --u32 "0>>24=0105:69"`, tcp4, fields{}, yes},
		{`-m u32 ! --u32 "0x0>>0x18=0x45"`, tcp4, fields{}, no},
		{`-m u32 --u32 "6&0xFF=6 && 0 >> 22 & 0x3C @ 0 & 0xffff = 80"`, tcp4, fields{}, yes},
		{`-m u32 --u32 "6&0xFF=6&&0>>22&0x3C@0&0xffff=79,81:90"`, tcp4, fields{}, no},
		{`-m u32 --u32 "6&0xFF=6&&0>>22&0x3C@0>>16=40000"`, tcp6, fields{}, no},
		{`-m u32 --u32 "6>>24=6&&40&0xffff=81"`, tcp6, fields{}, no},
		{`-m u32 --u32 "4&0xff00=0x600&&40&0xffff=80"`, tcp6, fields{}, yes},
		{`-m u32 --u32 "36=0:0xffffffff"`, tcp4, fields{}, yes},
		{`-m u32 --u32 "37=0:0xffffffff"`, tcp4, fields{}, no},
		{`-m u32 --u32 "0@0=0:0xffffffff"`, tcp4, fields{}, no},
		{`-m u32 --u32 "0>>22&0x3C@20=0:0xffffffff"`, tcp4, fields{}, no},
		{`-m u32 --u32 "0<<36=0x50000280"`, tcp4, fields{}, yes},
		{`-m u32 --u32 "0=1&&36=0:0xffffffff"`, tcp4, fields{}, no},
		// a program; a load behind the packet's end returns 0
		{`-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"`, tcp4, fields{}, yes},
		{`-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"`, udp4, fields{}, no},
		{`-m bpf --bytecode "5,177 0 0 0,72 0 0 2,21 0 1 80,6 0 0 9,6 0 0 0,"`, tcp4, fields{}, yes},
		{`-m bpf --bytecode "2,32 0 0 37,6 0 0 1"`, tcp4, fields{}, no},
		{`-m bpf --bytecode "2,32 0 0 4293918720,22 0 0 0"`, tcp4, fields{}, yes},
		{`-m bpf --bytecode "4,40 0 0 4294963200,21 0 1 34525,6 0 0 1,6 0 0 0"`, tcp6, fields{}, yes},
		{`-m bpf --bytecode "4,40 0 0 4294963200,21 0 1 34525,6 0 0 1,6 0 0 0"`, tcp4, fields{}, no},
		{`-m bpf --bytecode "2,32 0 0 4294963236,22 0 0 0"`, tcp4, fields{}, rules.Unknown}, // the CPU
		{`-m bpf --bytecode "2,40 0 0 4292870144,22 0 0 0"`, tcp4, fields{}, rules.Unknown}, // the frame
		{`-m bpf --object-pinned /sys/fs/bpf/x`, tcp4, fields{}, rules.Unknown},
	})
}

// The skb mark, and what a frame was, are at hand for a program.
func TestBPFAncillary(t *testing.T) {
	t.Parallel()
	v := visitOf(t, udp4, fields{})
	v.Mark, v.Hook, v.World.(*world).addrType = 5, nat.PreRouting, "MULTICAST"
	for match, want := range map[string]rules.Answer{
		`-m bpf --bytecode "4,32 0 0 4294963220,21 0 1 5,6 0 0 1,6 0 0 0"`: yes,
		`-m bpf --bytecode "4,32 0 0 4294963200,21 0 1 5,6 0 0 1,6 0 0 0"`: no,
		`-m bpf --bytecode "4,32 0 0 4294963204,21 0 1 2,6 0 0 1,6 0 0 0"`: yes,
	} {
		require.Equal(t, want, ruleOf(t, match, v).Matches[0].Holds(v), match)
	}
}

// A pinned program has a struct, though no kernel test of the examples can load it.
func TestPinnedBPF(t *testing.T) {
	t.Parallel()
	r, err := iptables.ParseRule("-m bpf --object-pinned /sys/fs/bpf/x", nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, "-A X -m bpf --object-pinned /sys/fs/bpf/x", r.Text("X"))
	row, ok := xt.Find("bpf", xt.MatchKind, nat.IPv4)
	require.True(t, ok)
	l, ok := row.Layout(nat.IPv4, 1)
	require.True(t, ok)
	d := make([]byte, l.Size)
	require.NoError(t, l.Encode(r.Matches[0], d, &xt.Env{}))
	back, ok := l.Decode(d, &xt.Env{})
	require.True(t, ok)
	require.Equal(t, r.Matches[0], back)
	l, ok = row.Layout(nat.IPv4, 0)
	require.True(t, ok)
	require.ErrorContains(t, l.Encode(r.Matches[0], d, &xt.Env{}), "revision 0")
	require.Equal(t, rules.Unknown, r.Matches[0].Holds(&rules.Visit{Packet: &rules.Packet{Wire: &packet.Packet{}}}))
}

// A test or a program that iptables or the kernel refuses is refused, with the place and the reason.
func TestProgramMistakesAreRefused(t *testing.T) {
	t.Parallel()
	checkMistakes(t, nat.IPv4, []mistake{
		{"-m u32", "-m u32: needs --u32"},
		{`-m u32 --u32 ""`, "--u32: at character 1: want a number of 32 bits"},
		{"-m u32 --u32 0", `--u32: at character 2: want "=", "&", "<<", ">>" or "@"`},
		{"-m u32 --u32 0=", "--u32: at character 3: want a number"},
		{"-m u32 --u32 0=1x", `--u32: at character 4: want "," or "&&"`},
		{"-m u32 --u32 0=1&&", "--u32: at character 6: want a number"},
		{"-m u32 --u32 0=4294967296", "--u32: at character 3: want a number of 32 bits"},
		{"-m u32 --u32 0&1&1&1&1&1&1&1&1&1&1=0", "at most 10 numbers in a location"},
		{"-m u32 --u32 0=0,1,2,3,4,5,6,7,8,9,10", "at most 10 values"},
		{"-m u32 --u32 0=0&&0=0&&0=0&&0=0&&0=0&&0=0&&0=0&&0=0&&0=0&&0=0&&0=0", "at most 10 tests"},
		{"-m bpf", "-m bpf: needs --bytecode or --object-pinned"},
		{`-m bpf --bytecode "65,6 0 0 0"`, "want the number of instructions, from 1 to 64"},
		{`-m bpf --bytecode "2,6 0 0 0"`, "--bytecode: 1 instructions, 2 are announced"},
		{`-m bpf --bytecode "1,6 0 0"`, `--bytecode: instruction 0, "6 0 0": want CODE JT JF K`},
		{`-m bpf --bytecode "1,6 256 0 0"`, "want CODE JT JF K"},
		{`-m bpf --bytecode "2,5 0 0 1,6 0 0 0"`, `--bytecode: instruction 0, "5 0 0 1": it jumps behind the end`},
		{`-m bpf --bytecode "2,52 0 0 0,6 0 0 0"`, "it divides by 0"},
		{`-m bpf --bytecode "2,100 0 0 32,6 0 0 0"`, "it shifts by more than 31"},
		{`-m bpf --bytecode "2,96 0 0 1,6 0 0 0"`, "nothing was written there"},
		{`-m bpf --bytecode "2,2 0 0 16,6 0 0 0"`, "memory has 16 words"},
		{`-m bpf --bytecode "1,48 0 0 9"`, "the last instruction does not return"},
		{`-m bpf --bytecode "1,262 0 0 9"`, "there is no such instruction"},
	})
}
