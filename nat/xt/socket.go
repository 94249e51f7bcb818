package xt

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// Socket is -m socket: whether a socket of the node takes the packet as it is now, a connected one or one that listens
// (xt_socket.c). With Restore the packet gets the socket's mark, which is not modelled.
type Socket struct {
	Transparent bool // it has to have IP_TRANSPARENT
	NoWildcard  bool // one that listens at no address in particular counts, too
	Restore     bool // --restore-skmark
}

var socketOptions = []string{"--transparent", "--nowildcard", "--restore-skmark"}

var socketRow = Extension{
	Name: "socket", Hooks: HooksOf(nat.PreRouting, nat.Input),
	Options:  []Option{{Name: "--transparent"}, {Name: "--nowildcard"}, {Name: "--restore-skmark"}},
	Examples: []string{"", "--transparent", "--nowildcard --restore-skmark", "--transparent --nowildcard --restore-skmark"},
	Parse: func(a *Args) Value {
		a.Once()
		return Socket{a.Has("--transparent"), a.Has("--nowildcard"), a.Has("--restore-skmark")}
	},
	// struct xt_socket_mtinfo3 { __u8 flags; }, and that of revisions 1 and 2, which know one flag and two; revision 0 has none
	Layouts: layouts(
		socketLayout(3, 1).since(Version{1, 6, 0}),
		socketLayout(2, 1),
		socketLayout(1, 1),
		socketLayout(0, 0).only(IPv4Only),
	),
	Listed: func(l *Listing) bool {
		return l.TakeWord("socket") && (l.Options("--") || true)
	},
	Undecided: "natlab does not know the node's sockets",
}

func socketLayout(revision uint8, size int) Layout {
	return layout(revision, size,
		func(d []byte, _ *Env) (Socket, bool) {
			f := byte(0)
			if size > 0 {
				f = d[0]
			}
			return Socket{f&1 != 0, f&2 != 0, f&4 != 0}, f < 1<<revision
		},
		func(m Socket, d []byte, _ *Env) error {
			f := flagByte(m.Transparent) | flagByte(m.NoWildcard)<<1 | flagByte(m.Restore)<<2
			if f >= 1<<revision {
				return fmt.Errorf("-m socket%s needs a later revision than %d", m.flags(), revision)
			}
			if size > 0 {
				d[0] = f
			}
			return nil
		})
}

// flags are the options, each with a blank in front.
func (m Socket) flags() string {
	var b strings.Builder
	for i, on := range []bool{m.Transparent, m.NoWildcard, m.Restore} {
		if on {
			b.WriteString(" " + socketOptions[i])
		}
	}
	return b.String()
}

// Name is "socket".
func (Socket) Name() string { return "socket" }

// Save prints the flags.
func (m Socket) Save(p *Printer) { p.Text(m.flags()) }

// List prints the flags as iptables -L does.
func (m Socket) List(p *Printer) { p.Text(" socket", m.flags()) }

// Holds is No for what no socket is looked up for: all but TCP, UDP and the ICMP errors about them.
func (Socket) Holds(v *rules.Visit) rules.Answer {
	switch p := v.Tuple.Proto(); p {
	case nat.TCP, nat.UDP:
		return rules.Unknown
	case nat.ICMP, nat.ICMPv6:
		if packet.IsError(p, v.ICMPType) {
			return rules.Unknown
		}
	}
	return rules.No
}

// Actual tells that the node's sockets are not known, where they would have to be.
func (m Socket) Actual(v *rules.Visit) string {
	if m.Holds(v) == rules.No {
		return "no socket takes " + v.Tuple.Proto().String()
	}
	return "the node's sockets are not known"
}
