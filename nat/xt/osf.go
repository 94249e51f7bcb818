package xt

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// OSF is -m osf: which operating system sent a SYN, by the fingerprints that the node has loaded (xt_osf.c,
// nfnetlink_osf.c).
type OSF struct {
	Not   bool
	Genre string // "Linux"
	TTL   *uint8 // how the TTL is compared, 0 to 2; nil where the option is not there
	Log   *uint8 // what is logged, 0 to 2
}

var osfRow = Extension{
	Name: "osf", Families: IPv4Only, Hooks: cameIn, Needs: "-p tcp", Protocols: []nat.Proto{nat.TCP},
	Options:  []Option{{Name: "--genre", Values: 1, Not: true}, {Name: "--ttl", Values: 1}, {Name: "--log", Values: 1}},
	Examples: []string{"--genre Linux", "! --genre Windows --ttl 2 --log 0"},
	Listed:   listedValue("OS fingerprint match", "--genre"), // --ttl and --log are not printed
	Parse: func(a *Args) Value {
		var m OSF
		a.Need("--genre")
		a.Once()
		for g := range a.Options {
			switch g.Name() {
			case "--genre": // what is longer is cut
				m.Not, m.Genre = g.Not, g.Text()[:min(len(g.Text()), osfGenre-1)]
			case "--ttl":
				m.TTL = new(uint8(g.Within(0, 2)))
			case "--log":
				m.Log = new(uint8(g.Within(0, 2)))
			}
		}
		return m
	},
	// struct xt_osf_info { char genre[32]; __u32 len, flags, loglevel, ttl; }
	Layouts:   layouts(layout(0, 48, decodeOSF, encodeOSF)),
	Undecided: "which fingerprints the node has loaded is not known",
}

const osfGenre = 32 // MAXGENRELEN

// Bits of xt_osf_info.flags (XT_OSF_*).
const (
	osfTTL    = 1 << 1
	osfLog    = 1 << 2
	osfInvert = 1 << 3
)

func decodeOSF(d []byte, _ *Env) (OSF, bool) {
	flags := order.Uint32(d[36:])
	m := OSF{Not: flags&osfInvert != 0, Genre: cString(d[:osfGenre])}
	if flags&osfTTL != 0 {
		m.TTL = new(uint8(order.Uint32(d[44:])))
	}
	if flags&osfLog != 0 {
		m.Log = new(uint8(order.Uint32(d[40:])))
	}
	return m, flags&^(osfTTL|osfLog|osfInvert) == 0
}

func encodeOSF(m OSF, d []byte, _ *Env) error {
	flags := bitIf[uint32](m.Not, osfInvert)
	if m.TTL != nil {
		flags |= osfTTL
		order.PutUint32(d[44:], uint32(*m.TTL))
	}
	if m.Log != nil {
		flags |= osfLog
		order.PutUint32(d[40:], uint32(*m.Log))
	}
	order.PutUint32(d[36:], flags)
	order.PutUint32(d[32:], uint32(len(m.Genre)))
	return putString(d[:osfGenre], m.Genre)
}

// Name is "osf".
func (OSF) Name() string { return "osf" }

// Save prints the genre and how it is looked for.
func (m OSF) Save(p *Printer) {
	p.Option(m.Not, "--genre", m.Genre)
	if m.TTL != nil {
		p.Number("--ttl", uint64(*m.TTL))
	}
	if m.Log != nil {
		p.Number("--log", uint64(*m.Log))
	}
}

// List prints the genre, and nothing else, as iptables -L does.
func (m OSF) List(p *Printer) {
	p.Text(" OS fingerprint match")
	p.Not(m.Not)
	p.Text(" ", m.Genre)
}

// Holds is not known of a SYN; of anything else it never holds, inverted or not.
func (OSF) Holds(v *rules.Visit) rules.Answer {
	const syn = 2
	if v.Wire != nil && v.TCPFlags&syn == 0 {
		return rules.No
	}
	return rules.Unknown
}

// Actual tells that the packet is no SYN.
func (OSF) Actual(*rules.Visit) string { return "no SYN" }
