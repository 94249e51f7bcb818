package xt

import "natlab/nat/rules"

// CPU is -m cpu: the number of the CPU that handles the packet (xt_cpu.c).
type CPU struct {
	Not    bool
	Number uint32
}

var cpuRow = Extension{
	Name:     "cpu",
	Options:  []Option{{Name: "--cpu", Values: 1, Not: true}},
	Examples: []string{"--cpu 0", "! --cpu 4294967295"},
	Parse: func(a *Args) Value {
		var m CPU
		a.Need("--cpu")
		a.Once()
		for g := range a.Options {
			m = CPU{g.Not, uint32(g.Uint(32))}
		}
		return m
	},
	Listed: func(l *Listing) bool {
		taken := l.TakeWord("cpu")
		l.Give("--cpu", l.Bang(), l.Word())
		return taken
	},
	// struct xt_cpu_info { __u32 cpu, invert; }
	Layouts: layouts(layout(0, 8,
		func(d []byte, _ *Env) (CPU, bool) {
			return CPU{order.Uint32(d[4:]) != 0, order.Uint32(d)}, order.Uint32(d[4:]) <= 1
		},
		func(m CPU, d []byte, _ *Env) error {
			order.PutUint32(d, m.Number)
			order.PutUint32(d[4:], uint32(flagByte(m.Not)))
			return nil
		})),
	Undecided: "which CPU handles the packet is not known",
}

// Name is "cpu".
func (CPU) Name() string { return "cpu" }

// Save prints the number.
func (m CPU) Save(p *Printer) {
	p.Not(m.Not)
	p.Number("--cpu", uint64(m.Number))
}

// List prints the number as iptables -L does.
func (m CPU) List(p *Printer) {
	p.Text(" cpu")
	p.Not(m.Not)
	p.Textf(" %d", m.Number)
}

// Holds is not known.
func (CPU) Holds(*rules.Visit) rules.Answer { return rules.Unknown }

// Actual tells that the CPU is not known.
func (CPU) Actual(*rules.Visit) string { return cpuRow.Undecided }
