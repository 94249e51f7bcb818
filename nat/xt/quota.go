package xt

import (
	"fmt"

	"natlab/nat/rules"
)

// Quota is -m quota: so many bytes, this packet included; what does not fit in uses up the rest (xt_quota.c).
type Quota struct {
	Not   bool
	Bytes uint64
}

var quotaRow = Extension{
	Name:     "quota",
	Options:  []Option{{Name: "--quota", Values: 1, Not: true}},
	Examples: []string{"--quota 0", "! --quota 18446744073709551615", "--quota 1000"},
	Parse: func(a *Args) Value {
		var m Quota
		a.Once()
		a.Need("--quota")
		for g := range a.Options {
			m.Not, m.Bytes = g.Not, g.Uint(64)
		}
		return m
	},
	Listed: func(l *Listing) bool {
		ok := l.Value("quota: ", "--quota", false) && l.TakeWord("bytes")
		l.Missing = "whether the quota is inverted"
		return ok
	},
	// struct xt_quota_info { __u32 flags, pad; __aligned_u64 quota; struct xt_quota_priv *master; };
	Layouts: layouts(layout(0, 24,
		func(d []byte, _ *Env) (Quota, bool) {
			flags := order.Uint32(d)
			return Quota{flags&1 != 0, order.Uint64(d[8:])}, flags <= 1
		},
		func(m Quota, d []byte, _ *Env) error {
			order.PutUint32(d, uint32(flagByte(m.Not)))
			order.PutUint64(d[8:], m.Bytes)
			return nil
		})),
	Remembers: true,
}

// Name is "quota".
func (Quota) Name() string { return "quota" }

// Save prints --quota.
func (m Quota) Save(p *Printer) {
	p.Not(m.Not)
	p.Number("--quota", m.Bytes)
}

// List prints the quota, and not whether it is inverted.
func (m Quota) List(p *Printer) { p.Textf(" quota: %d bytes", m.Bytes) }

// Holds takes the packet's length from what is left.
func (m Quota) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Rememberer)
	switch {
	case m.Bytes == 0: // no packet is as short
		return rules.Is(false, m.Not)
	case !ok || w.Memory() == nil || v.Wire == nil:
		return rules.Unknown
	}
	left := rules.Recall(w.Memory(), v.At, func() uint64 { return m.Bytes })
	fits := *left >= uint64(v.Wire.Len())
	if *left -= uint64(v.Wire.Len()); !fits {
		*left = 0
	}
	return rules.Is(fits, m.Not)
}

// Actual tells on which side of the quota the packet is.
func (m Quota) Actual(v *rules.Visit) string {
	if m.Not {
		return "the packet is within the quota"
	}
	return fmt.Sprintf("the quota of %d bytes is used up", m.Bytes)
}
