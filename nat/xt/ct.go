package xt

import (
	"errors"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// CT is -j CT, and -j NOTRACK: what conntrack is to do with the packet when it comes to it (xt_CT.c).
type CT struct {
	Legacy    bool // -j NOTRACK
	NoTrack   bool
	Helper    string // that looks at what the connection carries
	Timeout   string // the policy by which the connection is forgotten
	Events    uint32 // of which user space is told, by bit as ctEvents has them; 0: all
	ExpEvents uint32 //
	Zone      CTZone
}

// CTZone is the zone that a connection is looked for in and made in. The zero one is the default zone.
type CTZone struct {
	ID   uint16
	Mark bool // the low half of the packet's mark instead of ID
	// Dir limits it to one direction's tuples; nil for both, also where --zone-orig and --zone-reply are both given.
	Dir *nat.Direction
}

// ctEvents are the names of --ctevents, by bit (enum ip_conntrack_events), expEvents those of --expevents.
var (
	ctEvents  = []string{"new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark"}
	expEvents = ctEvents[:1]
)

// Bits of xt_ct_target_info_v1.flags: XT_CT_*.
const (
	ctNoTrack      = 1 << 0
	ctNoTrackAlias = 1 << 1 // written as -j NOTRACK
	ctZoneOrig     = 1 << 2
	ctZoneReply    = 1 << 3
	ctZoneMark     = 1 << 4
)

var ctRow = Extension{
	Name: "CT", Kind: TargetKind, Aliases: []string{"NOTRACK"}, Tables: []string{"raw"},
	Options: []Option{
		{Name: "--notrack"},
		{Name: "--helper", Values: 1},
		{Name: "--timeout", Values: 1},
		{Name: "--ctevents", Values: 1},
		{Name: "--expevents", Values: 1},
		{Name: "--zone", Values: 1},
		{Name: "--zone-orig", Values: 1},
		{Name: "--zone-reply", Values: 1},
	},
	// A helper and a timeout policy have to be there before the kernel takes the rule.
	Examples: []string{
		"", "--notrack", "--ctevents new,related,destroy,reply,assured,protoinfo,helper,mark,natseqinfo,secmark", "--expevents new",
		"--zone 65535", "--zone mark", "--zone-orig 1", "--zone-reply mark", "--ctevents destroy --zone 7",
	},
	Parse: parseCT,
	Listed: func(l *Listing) bool {
		if l.TakeWord("NOTRACK") {
			l.Called("NOTRACK")
			return true
		}
		return l.TakeWord("CT") && (l.Options("") || true)
	},
	// struct xt_ct_target_info_v1 { __u16 flags, zone; __u32 ct_events, exp_events; char helper[16], timeout[32];
	// struct nf_conn *ct; }; revision 0 has no timeout. NOTRACK was a target of its own before.
	Layouts: layouts(
		layout(2, 72, decodeCT(true), encodeCT(true)),
		layout(1, 72, decodeCT(true), encodeCT(true)),
		layout(0, 40, decodeCT(false), encodeCT(false)),
		layout(0, 0,
			func([]byte, *Env) (CT, bool) { return CT{Legacy: true, NoTrack: true}, true },
			func(t CT, _ []byte, _ *Env) error {
				if t != (CT{Legacy: true, NoTrack: true}) {
					return errors.New("-j CT is not -j NOTRACK")
				}
				return nil
			}).named("NOTRACK"),
	),
}

func parseCT(a *Args) Value {
	legacy := a.Alias == "NOTRACK"
	t := CT{Legacy: legacy, NoTrack: legacy}
	a.Once()
	for g := range a.Options {
		if legacy {
			g.Fail("no option of -j NOTRACK")
		}
		switch g.Name() {
		case "--notrack":
			t.NoTrack = true
		case "--helper":
			t.Helper = g.Cut(15)
		case "--timeout":
			t.Timeout = g.Cut(31)
		case "--ctevents":
			t.Events = g.Exact(ctEvents)
		case "--expevents":
			t.ExpEvents = g.Exact(expEvents)
		default:
			t.Zone.parse(g, a.Has)
		}
		if (t.Helper != "" || t.Timeout != "") && a.Protocol == 0 {
			g.Fail("needs -p PROTOCOL")
		}
	}
	t.Zone = t.Zone.plain()
	return t
}

// parse reads --zone, --zone-orig or --zone-reply; the last one tells the zone, and "mark" stays.
func (z *CTZone) parse(g *Given, has func(string) bool) {
	if strings.EqualFold(g.Text(), "mark") {
		z.Mark = true
	} else {
		z.ID = uint16(g.Uint(16))
	}
	if original := has("--zone-orig"); original != has("--zone-reply") {
		d := nat.Direction(flagByte(!original))
		z.Dir = &d
	}
}

// plain is the zone without what does not count: the number beside a mark, the direction of the default zone.
func (z CTZone) plain() CTZone {
	switch {
	case z.Mark:
		z.ID = 0
	case z.ID == 0:
		z.Dir = nil
	}
	return z
}

func decodeCT(timeouts bool) func(d []byte, _ *Env) (CT, bool) {
	return func(d []byte, _ *Env) (CT, bool) {
		flags := order.Uint16(d)
		t := CT{
			Legacy: flags&ctNoTrackAlias != 0, NoTrack: flags&ctNoTrack != 0, Events: order.Uint32(d[4:]), ExpEvents: order.Uint32(d[8:]),
			Helper: cString(d[12:28]), Zone: CTZone{ID: order.Uint16(d[2:]), Mark: flags&ctZoneMark != 0},
		}
		if timeouts {
			t.Timeout = cString(d[28:60])
		}
		if one := flags & (ctZoneOrig | ctZoneReply); one == ctZoneOrig || one == ctZoneReply {
			dir := nat.Direction(flagByte(one == ctZoneReply))
			t.Zone.Dir = &dir
		}
		t.Zone = t.Zone.plain()
		printed := flags < 1<<5 && t.Events>>len(ctEvents) == 0 && t.ExpEvents>>len(expEvents) == 0
		return t, printed && (!t.Legacy || t == CT{Legacy: true, NoTrack: true})
	}
}

func encodeCT(timeouts bool) func(t CT, d []byte, _ *Env) error {
	return func(t CT, d []byte, _ *Env) error {
		flags := uint16(flagByte(t.NoTrack))*ctNoTrack | uint16(flagByte(t.Legacy))*ctNoTrackAlias | uint16(flagByte(t.Zone.Mark))*ctZoneMark
		if t.Zone.Dir != nil {
			flags |= ctZoneOrig << *t.Zone.Dir
		}
		order.PutUint16(d, flags)
		order.PutUint16(d[2:], t.Zone.ID)
		order.PutUint32(d[4:], t.Events)
		order.PutUint32(d[8:], t.ExpEvents)
		if err := putString(d[12:28], t.Helper); err != nil || !timeouts && t.Timeout == "" {
			return err
		}
		if !timeouts {
			return errors.New("--timeout needs revision 1 of CT")
		}
		return putString(d[28:60], t.Timeout)
	}
}

// Name is "CT", or "NOTRACK" for the old target.
func (t CT) Name() string {
	if t.Legacy {
		return "NOTRACK"
	}
	return "CT"
}

// Save prints what conntrack is to do.
func (t CT) Save(p *Printer) {
	if !t.Legacy {
		t.print(p, " --")
	}
}

// List prints the target's name and the options without their dashes.
func (t CT) List(p *Printer) {
	p.Text(" ", t.Name())
	if !t.Legacy {
		t.print(p, " ")
	}
}

func (t CT) print(p *Printer, dashes string) {
	option := func(name, value string) {
		if value != "" {
			p.Text(dashes, name, " ", value)
		}
	}
	if t.NoTrack {
		p.Text(dashes, "notrack")
	}
	option("helper", t.Helper)
	option("timeout", t.Timeout)
	option("ctevents", setBits(t.Events, ctEvents))
	option("expevents", setBits(t.ExpEvents, expEvents))
	name := "zone"
	if t.Zone.Dir != nil {
		name = [...]string{"zone-orig", "zone-reply"}[*t.Zone.Dir]
	}
	switch {
	case t.Zone.Mark:
		option(name, "mark")
	case t.Zone.ID != 0:
		p.Number(strings.TrimPrefix(dashes, " ")+name, uint64(t.Zone.ID))
	}
}

// setBits is the names of the set bits, joined by commas.
func setBits(bits uint32, names []string) string {
	var out []string
	for i, name := range names {
		if bits&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// Tracks is false where the packet is not to be tracked.
func (t CT) Tracks() bool { return !t.NoTrack }

// Act tells conntrack what to do with a packet that it has not seen; what has a connection already, or was told before,
// stays as it is. Between here and conntrack other rules take the packet for a NEW one.
func (t CT) Act(v *rules.Visit) rules.Action {
	if v.Tracked() || v.Attached || v.State == rules.Untracked {
		return rules.Continue()
	}
	if t.NoTrack {
		v.State = rules.Untracked
		return rules.Continue()
	}
	zone := nat.Zone{ID: t.Zone.ID}
	if t.Zone.Mark {
		zone.ID = uint16(v.Mark)
	}
	if t.Zone.Dir != nil {
		zone.NotOriginal, zone.NotReply = *t.Zone.Dir == nat.Reply, *t.Zone.Dir == nat.Original
	}
	v.State, v.Template = rules.New, rules.Template{Zone: zone, Policy: t.Timeout}
	return rules.Continue()
}
