package xt

import (
	"fmt"
	"math"

	"natlab/nat/rules"
)

// Conntrack is -m conntrack, and -m state (xt_conntrack.c, conntrack_mt).
type Conntrack struct {
	Legacy bool        // -m state --state
	Not    bool        // of States
	States rules.State // any of them; 0: not asked for
	Conn   *ConnAsk    // what else is asked of the connection; nil: nothing
}

var conntrackRow = Extension{
	Name: "conntrack", Aliases: []string{"state"},
	Options: conntrackOptions(),
	Examples: []string{
		"--ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED,SNAT,DNAT", "! --ctstate NEW", "--ctstate NEW --ctproto 6", "! --ctproto 17",
		"--ctorigsrc 10.0.0.1 --ctorigdst 10.0.0.1/8 --ctreplsrc 192.0.2.0/24 ! --ctrepldst 192.0.2.7",
		"--ctorigsrc 2001:db8::1 --ctorigdst fe80::1/10 --ctreplsrc 2001:db8::/32 ! --ctrepldst ::ffff:1.2.3.4",
		"--ctorigsrcport 1024:65535 --ctorigdstport 80 ! --ctreplsrcport 8080:8090 --ctrepldstport 0",
		"--ctstatus EXPECTED,SEEN_REPLY,ASSURED,CONFIRMED", "! --ctstatus NONE", "--ctexpire 0", "! --ctexpire 10:4294967295", "--ctdir ORIGINAL", "--ctdir REPLY",
	},
	Parse: parseConntrack,
	Layouts: layouts(
		layout(3, 162, decodeConntrack(3), encodeConntrack(3)),
		layout(2, 154, decodeConntrack(2), encodeConntrack(2)),
		layout(1, 152, decodeConntrack(1), encodeConntrack(1)),
	),
	Listed: func(l *Listing) bool {
		if l.TakeWord("state") {
			l.Called("state")
			l.Give("--state", false, l.Word())
			return true
		}
		if l.Take("! state ") {
			l.Called("state")
			l.Give("--state", true, l.Word())
			return true
		}
		return l.Options("")
	},
	Tracks: true,
}

func conntrackOptions() []Option {
	out := []Option{{Name: "--ctstate", Values: 1, Not: true}, {Name: "--state", Values: 1, Not: true}, {Name: "--ctproto", Values: 1, Not: true}}
	for _, end := range connEnds {
		out = append(out, Option{Name: "--ct" + end, Values: 1, Not: true}, Option{Name: "--ct" + end + "port", Values: 1, Not: true})
	}
	return append(out, Option{Name: "--ctstatus", Values: 1, Not: true}, Option{Name: "--ctexpire", Values: 1, Not: true}, Option{Name: "--ctdir", Values: 1})
}

func parseConntrack(a *Args) Value {
	m := Conntrack{Legacy: a.Alias == "state"}
	a.Once()
	if m.Legacy {
		a.Need("--state")
	} else if len(a.Given) == 0 {
		a.Fail("needs at least one option")
	}
	ask := ConnAsk{}
	for g := range a.Options {
		switch name := g.Name(); {
		case m.Legacy != (name == "--state"):
			g.Fail("no option of -m %s", a.Alias)
		case name == "--state":
			m.Not, m.States = g.Not, rules.State(g.Shortened(rules.StateNames()[:5]))
		case name == "--ctstate":
			m.Not, m.States = g.Not, rules.State(g.Shortened(rules.StateNames()))
		default:
			ask.parse(g)
		}
	}
	if ask != (ConnAsk{}) {
		m.Conn = &ask
	}
	return m
}

// Name is "conntrack", or "state" for the old match.
func (m Conntrack) Name() string {
	if m.Legacy {
		return "state"
	}
	return "conntrack"
}

// Save prints the options in the program's own order.
func (m Conntrack) Save(p *Printer) { m.print(p, " --") }

// List prints the options without their dashes.
func (m Conntrack) List(p *Printer) { m.print(p, " ") }

func (m Conntrack) print(p *Printer, dashes string) {
	if m.States != 0 {
		p.Not(m.Not)
		option := "ctstate "
		if m.Legacy {
			option = "state "
		}
		p.Text(dashes, option, m.States.String())
	}
	if m.Conn != nil {
		m.Conn.print(p, dashes)
	}
}

// Holds asks for the connection's state, and then for all else. A packet without a connection has the state INVALID or
// UNTRACKED, and what else is asked counts only where no state is asked: it fails then.
func (m Conntrack) Holds(v *rules.Visit) rules.Answer {
	if m.States != 0 && (v.State&m.States != 0) == m.Not {
		return rules.No
	}
	switch {
	case m.Conn == nil:
		return rules.Yes
	case !v.Tracked():
		return rules.Is(m.States != 0, false)
	}
	c, ok := connOf(v)
	if !ok {
		return rules.Unknown
	}
	answer, _ := m.Conn.holds(&c)
	return answer
}

// connOf is the connection of the packet, as far as the World knows it.
func connOf(v *rules.Visit) (rules.Conn, bool) {
	w, ok := v.World.(rules.ConnHolder)
	if !ok {
		return rules.Conn{}, false
	}
	return w.Conn()
}

// Actual is the connection's state, or what else of it is not as asked.
func (m Conntrack) Actual(v *rules.Visit) string {
	if m.States != 0 && (v.State&m.States != 0) == m.Not || m.Conn == nil {
		return "state " + v.State.String()
	}
	if !v.Tracked() {
		return "no connection"
	}
	c, ok := connOf(v)
	if !ok {
		return "the connection is not known"
	}
	_, failed := m.Conn.holds(&c)
	return failed.actual(&c)
}

// Bits of match_flags and invert_flags: XT_CONNTRACK_*.
const (
	ctState      = 1 << 0
	ctProto      = 1 << 1
	ctAddr       = 1 << 2 // ORIGSRC; the other ends follow
	ctStatus     = 1 << 6
	ctExpires    = 1 << 7
	ctPort       = 1 << 8 // ORIGSRC_PORT; the other ends follow
	ctDirection  = 1 << 12
	ctStateAlias = 1 << 13 // written as -m state
)

// Offsets of struct xt_conntrack_mtinfo1 to 3. Eight addresses and masks stand in front of them, 16 bytes each.
const (
	ctExpiresAt = 128
	ctProtoAt   = 136
	ctPortsAt   = 138
	ctFlagsAt   = 146
	ctInvertAt  = 148
	ctStateAt   = 150 // the status behind it; both of 8 bits in revision 1, of 16 later
	ctHighAt    = 154 // the upper ends of the ports, from revision 3 on; before, there is one port, in network order
)

// ctStateBits are the kernel's bits of a state mask, by those of rules.State.
var ctStateBits = [...]uint32{1 << 0, 1 << 3, 1 << 2, 1 << 1, 1 << 8, 1 << 6, 1 << 7}

// ctMasks are the masks of states and of status bits.
func ctMasks(d []byte, revision uint8) (state, status uint32) {
	if revision == 1 {
		return uint32(d[ctStateAt]), uint32(d[ctStateAt+1])
	}
	return uint32(order.Uint16(d[ctStateAt:])), uint32(order.Uint16(d[ctStateAt+2:]))
}

func decodeConntrack(revision uint8) func(d []byte, e *Env) (Conntrack, bool) {
	return func(d []byte, e *Env) (Conntrack, bool) {
		flags, invert := order.Uint16(d[ctFlagsAt:]), order.Uint16(d[ctInvertAt:])
		state, status := ctMasks(d, revision)
		m := Conntrack{Legacy: flags&ctStateAlias != 0, Not: invert&ctState != 0}
		for bit, kernel := range ctStateBits {
			if state&kernel != 0 {
				m.States |= 1 << bit
				state &^= kernel
			}
		}
		if q := decodeConnAsk(d, e, revision); q != (ConnAsk{}) {
			m.Conn = &q
		}
		printed := state == 0 && status>>len(connStatuses) == 0 && flags>>14 == 0 && invert&^flags == 0
		return m, printed && (m.States != 0) == (flags&ctState != 0) && (status == 0 || flags&ctStatus != 0)
	}
}

func encodeConntrack(revision uint8) func(m Conntrack, d []byte, e *Env) error {
	return func(m Conntrack, d []byte, e *Env) (err error) {
		var flags, invert uint16
		var state, status uint32
		if m.Conn != nil {
			if flags, invert, err = m.Conn.encode(d, e, revision); err != nil {
				return err
			}
			if m.Conn.Status != nil {
				status = uint32(m.Conn.Status.Any)
			}
		}
		flags |= uint16(flagByte(m.Legacy)) * ctStateAlias
		flags |= uint16(flagByte(m.States != 0)) * ctState
		invert |= uint16(flagByte(m.States != 0 && m.Not)) * ctState
		for bit, kernel := range ctStateBits {
			if m.States&(1<<bit) != 0 {
				state |= kernel
			}
		}
		order.PutUint16(d[ctFlagsAt:], flags)
		order.PutUint16(d[ctInvertAt:], invert)
		if revision > 1 {
			order.PutUint16(d[ctStateAt:], uint16(state))
			order.PutUint16(d[ctStateAt+2:], uint16(status))
			return nil
		}
		d[ctStateAt], d[ctStateAt+1] = byte(state), byte(status)
		if state > math.MaxUint8 {
			return fmt.Errorf("the state UNTRACKED needs revision 2 of conntrack")
		}
		return nil
	}
}
