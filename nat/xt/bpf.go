package xt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"natlab/nat/rules"
)

// BPF is -m bpf: a classic BPF program that looks at the packet, or a program of the node's BPF file system (xt_bpf.c).
type BPF struct {
	Program bpfProgram
	Path    string // of a pinned program, which natlab does not have; "" for one that is given
}

const (
	bpfMost     = 64  // XT_BPF_MAX_NUM_INSTR
	bpfPathSize = 512 // XT_BPF_PATH_MAX
)

var bpfRow = Extension{
	Name:    "bpf",
	Options: []Option{{Name: "--bytecode", Values: 1}, {Name: "--object-pinned", Values: 1}},
	Examples: []string{
		`--bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"`, `--bytecode "1,6 0 0 0"`,
		`--bytecode "9,40 0 0 6,69 5 0 8191,177 0 0 0,72 0 0 2,37 0 2 1023,1 0 0 4294967295,22 0 0 0,6 0 0 0,6 0 0 65535"`,
	},
	Parse:  parseBPF,
	Listed: listedBPF,
	Layouts: layouts(
		// struct xt_bpf_info_v1 { __u16 mode, bpf_program_num_elem; __s32 fd; union { struct sock_filter bpf_program[64]; char
		// path[512]; }; struct bpf_prog *filter; }
		layout(1, 528, decodeBPF, encodeBPF).since(Version{1, 6, 1}),
		// struct xt_bpf_info { __u16 bpf_program_num_elem; struct sock_filter bpf_program[64]; struct bpf_prog *filter; }
		layout(0, 528,
			func(d []byte, _ *Env) (BPF, bool) {
				p, ok := decodeProgram(d[4:], int(order.Uint16(d)))
				return BPF{Program: p}, ok
			},
			func(m BPF, d []byte, _ *Env) error {
				if m.Path != "" {
					return errors.New("revision 0 of bpf has no --object-pinned")
				}
				order.PutUint16(d, uint16(len(m.Program)))
				m.Program.encode(d[4:])
				return nil
			}),
	),
}

func parseBPF(a *Args) Value {
	var m BPF
	a.Need("--bytecode", "--object-pinned")
	a.Exclusive("--bytecode", "--object-pinned")
	a.Once()
	for g := range a.Options {
		if g.Name() == "--bytecode" {
			m.Program = g.bytecode()
		} else if m.Path = g.TextUpTo(bpfPathSize - 1); m.Path == "" {
			g.bad(0, "a path")
		}
	}
	return m
}

// bytecode is the first value as COUNT and so many instructions CODE JT JF K, each with a comma in front. A program that the
// kernel refuses is refused.
func (g *Given) bytecode() bpfProgram {
	head, rest, _ := strings.Cut(g.Text(), ",")
	count, err := strconv.ParseUint(head, 10, 16)
	if err != nil || count == 0 || count > bpfMost {
		g.bad(0, fmt.Sprintf("the number of instructions, from 1 to %d, and a comma first", bpfMost))
		return nil
	}
	var p bpfProgram
	for text := range strings.SplitSeq(strings.TrimSuffix(rest, ","), ",") {
		in, ok := readInstruction(text)
		if !ok {
			g.Fail("instruction %d, %q: want CODE JT JF K", len(p), text)
			return nil
		}
		p = append(p, in)
	}
	if len(p) != int(count) {
		g.Fail("%d instructions, %d are announced", len(p), count)
		return nil
	}
	if err := p.check(); err != nil {
		g.Fail("%v", err)
	}
	return p
}

// Modes of revision 1 (enum xt_bpf_modes), and where its program or path is.
const (
	bpfBytecode  = 0
	bpfPinned    = 1
	bpfProgramAt = 8
)

func decodeBPF(d []byte, _ *Env) (BPF, bool) {
	switch order.Uint16(d) {
	case bpfBytecode:
		p, ok := decodeProgram(d[bpfProgramAt:], int(order.Uint16(d[2:])))
		return BPF{Program: p}, ok
	case bpfPinned:
		path := cString(d[bpfProgramAt : bpfProgramAt+bpfPathSize])
		return BPF{Path: path}, path != ""
	}
	return BPF{}, false
}

// encodeBPF leaves the file descriptor of a pinned program 0: the kernel takes the path.
func encodeBPF(m BPF, d []byte, _ *Env) error {
	if m.Path != "" {
		order.PutUint16(d, bpfPinned)
		return putString(d[bpfProgramAt:bpfProgramAt+bpfPathSize], m.Path)
	}
	order.PutUint16(d[2:], uint16(len(m.Program)))
	m.Program.encode(d[bpfProgramAt:])
	return nil
}

// Name is "bpf".
func (BPF) Name() string { return "bpf" }

// Save prints the program, or where it is.
func (m BPF) Save(p *Printer) {
	if m.Path != "" {
		p.Option(false, "--object-pinned", m.Path)
		return
	}
	p.Textf(` --bytecode "%d,%s"`, len(m.Program), m.Program)
}

// List prints the program, or where it is, as iptables -L does, which has no blank in front and a zero byte behind.
func (m BPF) List(p *Printer) {
	p.Text("match bpf ")
	if m.Path != "" {
		p.Text("pinned ", m.Path)
		return
	}
	p.Text(m.Program.String(), "\x00")
}

func listedBPF(l *Listing) bool {
	switch {
	case !l.Take("match bpf "):
		return false
	case l.TakeWord("pinned"):
		l.Give("--object-pinned", false, l.Word())
		return true
	}
	text := strings.TrimRight(l.Run(digits+", "), " ")
	l.Take("\x00")
	l.Give("--bytecode", false, fmt.Sprintf("%d,%s", strings.Count(text, ",")+1, text))
	return text != ""
}

// Holds runs the program. What one of the node's own does is not known, nor what a program gets that asks for more than the
// packet's bytes and mark.
func (m BPF) Holds(v *rules.Visit) rules.Answer {
	if m.Path != "" || v.Wire == nil {
		return rules.Unknown
	}
	n, known := m.Program.run(v)
	if !known {
		return rules.Unknown
	}
	return rules.Is(n != 0, false)
}

// Actual tells that the program does not take the packet.
func (m BPF) Actual(*rules.Visit) string { return "the program returns 0" }
