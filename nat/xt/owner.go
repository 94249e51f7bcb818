package xt

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// Owner is -m owner: whose socket the packet left by (xt_owner.c). A packet that no socket of the node sent has no owner.
type Owner struct {
	UID, GID    *OwnerID // nil: not asked for
	Groups      bool     // the process's further groups count, too: --suppl-groups
	Exists, Not bool     // --socket-exists, and that inverted
}

// OwnerID is a range of uids or gids that is asked for, or the name of a user or a group: its number only the node knows
// where the rule is loaded.
type OwnerID struct {
	Not   bool
	Range IDRange
	Named string
}

// IDRange is a range of numbers, both ends in.
type IDRange struct{ Low, High uint32 }

// maxOwner is the highest uid and gid that iptables takes.
const maxOwner = 1<<32 - 2

var ownerRow = Extension{
	Name: "owner", Hooks: HooksOf(nat.Output, nat.PostRouting),
	Options: []Option{
		{Name: "--uid-owner", Values: 1, Not: true},
		{Name: "--gid-owner", Values: 1, Not: true},
		{Name: "--socket-exists", Not: true},
		{Name: "--suppl-groups"},
	},
	Examples: []string{
		"--uid-owner 1337", "! --uid-owner 0-999", "--uid-owner 0 ! --gid-owner 10-20", "--gid-owner 0-10 --suppl-groups",
		"--socket-exists", "! --socket-exists ! --uid-owner 7",
	},
	Parse: parseOwner,
	// struct xt_owner_match_info { __u32 uid_min, uid_max, gid_min, gid_max; __u8 match, invert; }
	Layouts: layouts(layout(1, 18, decodeOwner, encodeOwner)),
	Listed:  listedOwner,
}

func parseOwner(a *Args) Value {
	var m Owner
	a.Once()
	a.Need("--uid-owner", "--gid-owner", "--socket-exists")
	for g := range a.Options {
		switch g.Name() {
		case "--uid-owner":
			m.UID = g.owner()
		case "--gid-owner":
			m.GID = g.owner()
		case "--socket-exists":
			m.Exists, m.Not = true, g.Not
		case "--suppl-groups":
			if m.Groups = true; m.GID == nil {
				g.Fail("needs --gid-owner in front of it")
			}
		}
	}
	return m
}

// owner reads a uid or gid, two with "-" or ":" between them, or a name. That of root is 0 everywhere.
func (g *Given) owner() *OwnerID {
	s := g.Text()
	if s == "root" {
		return &OwnerID{Not: g.Not}
	}
	r, ok := readOwner(s)
	switch named := strings.Trim(s, plainChars+".@$") == "" && strings.Trim(s[:min(1, len(s))], "-.0123456789") != ""; {
	case ok:
		return &OwnerID{Not: g.Not, Range: r}
	case !named:
		g.bad(0, "a number, LOW-HIGH or a name")
	}
	return &OwnerID{Not: g.Not, Named: s}
}

// readOwner reads a range, of which the kernel wants the lower number first.
func readOwner(s string) (r IDRange, ok bool) {
	first, second, two := s, s, false
	if i := strings.IndexAny(s, "-:"); i >= 0 {
		first, second, two = s[:i], s[i+1:], true
	}
	low, ok := Number(first, maxOwner)
	high, ok2 := low, true
	if two {
		high, ok2 = Number(second, maxOwner)
	}
	return IDRange{uint32(low), uint32(high)}, ok && ok2 && low <= high
}

// Bits of xt_owner_match_info.match and invert: XT_OWNER_*.
const (
	ownerUID = 1 << iota
	ownerGID
	ownerSocket
	ownerGroups
)

func decodeOwner(d []byte, _ *Env) (Owner, bool) {
	match, invert := d[16], d[17]
	id := func(at int, bit byte) *OwnerID {
		if match&bit == 0 {
			return nil
		}
		return &OwnerID{Not: invert&bit != 0, Range: IDRange{Low: order.Uint32(d[at:]), High: order.Uint32(d[at+4:])}}
	}
	m := Owner{id(0, ownerUID), id(8, ownerGID), match&ownerGroups != 0, match&ownerSocket != 0, invert&match&ownerSocket != 0}
	return m, match < ownerGroups<<1 && invert&^match == 0 && invert&ownerGroups == 0
}

func encodeOwner(m Owner, d []byte, _ *Env) error {
	for _, id := range []*OwnerID{m.UID, m.GID} {
		if id != nil && id.Named != "" {
			return fmt.Errorf("the number of %q is not known here", id.Named)
		}
	}
	put := func(on, not bool, bit byte) {
		d[16] |= flagByte(on) * bit
		d[17] |= flagByte(on && not) * bit
	}
	id := func(of *OwnerID, at int, bit byte) {
		if of != nil {
			order.PutUint32(d[at:], of.Range.Low)
			order.PutUint32(d[at+4:], of.Range.High)
			put(true, of.Not, bit)
		}
	}
	id(m.UID, 0, ownerUID)
	id(m.GID, 8, ownerGID)
	put(m.Exists, m.Not, ownerSocket)
	put(m.Groups, false, ownerGroups)
	return nil
}

// Name is "owner".
func (Owner) Name() string { return "owner" }

// Save prints what is asked of the socket, of the uid and of the gid.
func (m Owner) Save(p *Printer) {
	if m.Exists {
		p.Not(m.Not)
		p.Flag(true, "--socket-exists")
	}
	if m.UID != nil {
		p.Option(m.UID.Not, "--uid-owner", m.UID.String())
	}
	if m.GID != nil {
		p.Option(m.GID.Not, "--gid-owner", m.GID.String())
	}
	p.Flag(m.Groups, "--suppl-groups")
}

// String is the range, or the name.
func (o OwnerID) String() string {
	if o.Named != "" {
		return o.Named
	}
	return span(o.Range.Low, o.Range.High, "-")
}

// List prints the same as iptables -L does.
func (m Owner) List(p *Printer) {
	if m.Exists {
		p.Not(m.Not)
		p.Text(" owner socket exists")
	}
	if m.UID != nil {
		p.Option(m.UID.Not, "owner UID match", m.UID.String())
	}
	if m.GID != nil {
		p.Option(m.GID.Not, "owner GID match", m.GID.String())
	}
	p.Flag(m.Groups, "incl. suppl. groups")
}

func listedOwner(l *Listing) bool {
	found := false
	for _, part := range [][2]string{{"owner socket exists", "--socket-exists"}, {"owner UID match ", "--uid-owner"}, {"owner GID match ", "--gid-owner"}} {
		was := *l
		not := l.Bang()
		switch {
		case !l.Take(part[0]):
			*l = was
			continue
		case strings.HasSuffix(part[0], " "):
			l.Give(part[1], not, l.Word())
		default:
			l.Give(part[1], not)
		}
		found = true
	}
	if l.Take("incl. suppl. groups") {
		l.Give("--suppl-groups", false)
	}
	return found
}

// Holds asks whose socket the packet left by.
func (m Owner) Holds(v *rules.Visit) rules.Answer {
	switch m.socket(v) {
	case rules.SocketUnknown:
		return rules.Unknown
	case rules.NoSocket:
		return rules.Is(m.allInverted() && !m.Groups && (!m.Exists || m.Not), false)
	case rules.KernelSocket:
		return rules.Is(m.allInverted() && (!m.Exists || !m.Not), false)
	case rules.ProcessSocket:
	}
	if m.Exists && m.Not ||
		m.UID != nil && m.asks(v, "-m owner --uid-owner ", m.UID, v.Sender.UID) == m.UID.Not {
		return rules.No
	}
	return rules.Is(m.GID == nil || m.asks(v, "-m owner --gid-owner ", m.GID, v.Sender.GID) != m.GID.Not, false)
}

// socket is what sent the packet: on its way in and onwards it has no socket.
func (m Owner) socket(v *rules.Visit) rules.SocketKind {
	if v.Hook != nat.Output && v.Hook != nat.PostRouting {
		return rules.NoSocket
	}
	return v.Sender.Socket
}

// allInverted reports whether neither a uid nor a gid must be there.
func (m Owner) allInverted() bool {
	return (m.UID == nil || m.UID.Not) && (m.GID == nil || m.GID.Not)
}

// asks reports whether the sender's uid or gid is in a range. What is not known is asked for in words that do not depend on
// an inversion, and only where what has been assumed of the sender leaves it open.
func (m Owner) asks(v *rules.Visit, question string, id *OwnerID, actual rules.ID) bool {
	if h, ok := v.World.(rules.ConnHolder); ok {
		if c, tracked := h.Conn(); tracked && c.Dir == nat.Reply {
			question = "the answer's sender: " + question
		}
	}
	if id.Named != "" {
		return v.Unknown(question + id.Named)
	}
	groups := m.Groups && id == m.GID
	can := ids{{0, maxOwner}}
	if actual.Known {
		can = ids{{actual.Number, actual.Number}}
	}
	for _, a := range v.Assumed() {
		if text, ok := strings.CutPrefix(a.What, question); ok {
			if r, ok := readOwner(text); ok {
				can = can.narrowed(r, a.Holds)
			}
		}
	}
	switch answer := can.within(id.Range); {
	case answer == rules.Yes:
		return true
	case groups:
		return v.Unknown(question + id.String() + " --suppl-groups")
	case answer == rules.No:
		return false
	}
	return v.Unknown(question + id.String())
}

// Actual is who sent the packet, as far as it is known.
func (m Owner) Actual(v *rules.Visit) string {
	switch m.socket(v) {
	case rules.NoSocket:
		return "no socket of the node sent the packet"
	case rules.KernelSocket:
		return "the kernel sent the packet"
	case rules.ProcessSocket:
		who := []string{"a process"}
		for _, id := range []struct {
			name string
			rules.ID
		}{{"uid", v.Sender.UID}, {"gid", v.Sender.GID}} {
			if id.Known {
				who = append(who, fmt.Sprintf("with %s %d", id.name, id.Number))
			}
		}
		return strings.Join(who, " ") + " sent the packet"
	case rules.SocketUnknown:
	}
	return "whose packet it is is not known"
}

// ids are the numbers that a uid or gid can be, in ranges.
type ids []IDRange

// within tells whether the number is in a range.
func (s ids) within(r IDRange) rules.Answer {
	some, others := false, false
	for _, one := range s {
		some = some || one.Low <= r.High && one.High >= r.Low
		others = others || one.Low < r.Low || one.High > r.High
	}
	switch {
	case !some:
		return rules.No
	case !others:
		return rules.Yes
	}
	return rules.Unknown
}

// narrowed are those of the numbers that are in a range, or that are not.
func (s ids) narrowed(r IDRange, within bool) (out ids) {
	add := func(low, high uint32) {
		if low <= high {
			out = append(out, IDRange{Low: low, High: high})
		}
	}
	for _, one := range s {
		switch {
		case within:
			add(max(one.Low, r.Low), min(one.High, r.High))
		case one.Low > r.High || one.High < r.Low:
			add(one.Low, one.High)
		default:
			if one.Low < r.Low {
				add(one.Low, r.Low-1)
			}
			if one.High > r.High {
				add(r.High+1, one.High)
			}
		}
	}
	return out
}
