package xt

import (
	"errors"
	"net/netip"
	"strconv"
)

// Recent is -m recent (xt_recent.c).
type Recent struct {
	Not      bool
	Action   RecentAction
	Seconds  uint32 // 0: not asked for
	HitCount uint32
	Reap     bool
	TTL      bool       // --rttl
	ListName string     // --name
	Mask     netip.Addr // invalid: revision 0, which has none
	ByDest   bool       // --rdest
}

// RecentAction is what a Recent does with its list.
type RecentAction uint8

// The actions.
const (
	RecentSet    RecentAction = iota // --set
	RecentCheck                      // --rcheck
	RecentUpdate                     // --update
	RecentRemove                     // --remove
)

// recentActions are the options of the actions, with their bits in check_set (XT_RECENT_*) and their names in a list.
var recentActions = [...]struct {
	option string
	bit    byte
	listed string
}{
	RecentSet:    {"--set", 1 << 1, "SET"},
	RecentCheck:  {"--rcheck", 1 << 0, "CHECK"},
	RecentUpdate: {"--update", 1 << 2, "UPDATE"},
	RecentRemove: {"--remove", 1 << 3, "REMOVE"},
}

// Further bits of check_set.
const (
	recentTTL  = 1 << 4 // XT_RECENT_TTL
	recentReap = 1 << 5 // XT_RECENT_REAP
)

var recentRow = Extension{
	Name: "recent",
	Options: []Option{
		{Name: "--set", Not: true},
		{Name: "--rcheck", Not: true},
		{Name: "--update", Not: true},
		{Name: "--remove", Not: true},
		{Name: "--seconds", Values: 1},
		{Name: "--reap"},
		{Name: "--hitcount", Values: 1},
		{Name: "--rttl"},
		{Name: "--name", Values: 1},
		{Name: "--mask", Values: 1},
		{Name: "--rsource"},
		{Name: "--rdest"},
	},
	Examples: []string{
		"--set --name one --mask 255.255.255.255 --rsource", "! --rcheck --seconds 60 --reap --hitcount 4 --rttl --name one --mask 255.255.0.0 --rdest",
		"--update --seconds 10800 --name KUBE-SEP-ABCDEFGHIJKLMNOP --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource",
		"! --remove --name one --mask ffff:: --rdest",
	},
	Parse:  parseRecent,
	Listed: listedRecent,
	// struct xt_recent_mtinfo_v1 { __u32 seconds, hit_count; __u8 check_set, invert; char name[200]; __u8 side;
	// union nf_inet_addr mask; }; revision 0 has no mask.
	Layouts:   layouts(layout(1, 228, decodeRecent, encodeRecent), layout(0, 211, decodeRecent, encodeRecent)),
	Remembers: true,
}

// Where the fields stand.
const (
	recentHitsAt   = 4
	recentCheckAt  = 8
	recentInvertAt = 9
	recentNameAt   = 10
	recentSideAt   = 210
	recentMaskAt   = 212
)

func parseRecent(a *Args) Value {
	m := Recent{ListName: "DEFAULT", Mask: maskOfBits(widthOf(a.Family), a.Family)}
	a.Once()
	a.Need("--set", "--rcheck", "--update", "--remove")
	a.Exclusive("--set", "--rcheck", "--update", "--remove")
	for g := range a.Options {
		m.parse(g)
	}
	if m.Action == RecentSet || m.Action == RecentRemove {
		for _, bound := range []string{"--seconds", "--hitcount", "--reap", "--rttl"} {
			if a.Has(bound) && (bound != "--hitcount" || m.HitCount != 0) {
				a.Fail("%s does not go with %s", bound, recentActions[m.Action].option)
			}
		}
	}
	if m.Reap && m.Seconds == 0 {
		a.Fail("--reap needs --seconds")
	}
	return m
}

func (m *Recent) parse(g *Given) {
	switch g.Name() {
	case "--seconds":
		m.Seconds = uint32(g.Within(1, 1<<32-1))
	case "--hitcount":
		m.HitCount = uint32(g.Within(0, recentStamps-1))
	case "--reap":
		m.Reap = true
	case "--rttl":
		m.TTL = true
	case "--name":
		m.ListName = g.Cut(199)
		if !isProcName(m.ListName) {
			g.bad(0, "a name that a file below /proc/net/xt_recent can have")
		}
	case "--mask":
		m.Mask = g.Addr()
	case "--rsource", "--rdest":
		m.ByDest = g.Name() == "--rdest"
	default:
		m.Not = g.Not
		for i, action := range recentActions {
			if action.option == g.Name() {
				m.Action = RecentAction(i)
			}
		}
	}
}

func decodeRecent(d []byte, e *Env) (Recent, bool) {
	check, side := d[recentCheckAt], d[recentSideAt]
	m := Recent{
		Not: d[recentInvertAt] != 0, Seconds: order.Uint32(d), HitCount: order.Uint32(d[recentHitsAt:]), Reap: check&recentReap != 0,
		TTL: check&recentTTL != 0, ListName: cString(d[recentNameAt:recentSideAt]), ByDest: side == 1,
	}
	actions := 0
	for i, action := range recentActions {
		if check&action.bit != 0 {
			m.Action = RecentAction(i)
			actions++
		}
	}
	if len(d) > recentMaskAt {
		m.Mask = inetAddr(e.Family, d[recentMaskAt:])
	}
	return m, actions == 1 && check>>6 == 0 && side <= 1
}

func encodeRecent(m Recent, d []byte, _ *Env) error {
	order.PutUint32(d, m.Seconds)
	order.PutUint32(d[recentHitsAt:], m.HitCount)
	d[recentCheckAt] = recentActions[m.Action].bit | flagByte(m.TTL)*recentTTL | flagByte(m.Reap)*recentReap
	d[recentInvertAt], d[recentSideAt] = flagByte(m.Not), flagByte(m.ByDest)
	copy(d[recentNameAt:], "DEFAULT") // what a shorter name leaves of it stays behind its closing zero
	if err := putString(d[recentNameAt:recentSideAt], m.ListName); err != nil {
		return err
	}
	d[recentNameAt+len(m.ListName)] = 0
	switch {
	case len(d) > recentMaskAt:
		copy(d[recentMaskAt:], m.Mask.AsSlice())
	case m.Mask.IsValid():
		return errors.New("a mask needs revision 1 of recent")
	}
	return nil
}

// Name is "recent".
func (Recent) Name() string { return "recent" }

// Save prints the action, its bounds and the list.
func (m Recent) Save(p *Printer) {
	p.Not(m.Not)
	p.Text(" ", recentActions[m.Action].option)
	if m.Seconds != 0 {
		p.Option(false, "--seconds", strconv.Itoa(int(int32(m.Seconds)))) // as the program prints it
	}
	p.Flag(m.Reap, "--reap")
	if m.HitCount != 0 {
		p.Number("--hitcount", uint64(m.HitCount))
	}
	p.Flag(m.TTL, "--rttl")
	p.Option(false, "--name", m.ListName)
	if m.Mask.IsValid() {
		p.Text(" --mask ")
		p.Addr(m.Mask)
	}
	p.Flag(m.ByDest, "--rdest")
	p.Flag(!m.ByDest, "--rsource")
}

// List prints the action, its bounds and the list as iptables -L does.
func (m Recent) List(p *Printer) {
	p.Not(m.Not)
	p.Text(" recent: ", recentActions[m.Action].listed)
	if m.Seconds != 0 {
		p.Option(false, "seconds:", strconv.Itoa(int(int32(m.Seconds))))
	}
	p.Flag(m.Reap, "reap")
	if m.HitCount != 0 {
		p.Number("hit_count:", uint64(m.HitCount))
	}
	p.Flag(m.TTL, "TTL-Match")
	p.Text(" name: ", m.ListName)
	p.Flag(!m.ByDest, "side: source")
	p.Flag(m.ByDest, "side: dest")
	if m.Mask.IsValid() {
		p.Text(" mask: ")
		p.Addr(m.Mask)
	}
}

func listedRecent(l *Listing) bool {
	not := l.TakeWord("!")
	if !l.Take("recent: ") {
		return false
	}
	action := l.Word()
	for _, a := range recentActions {
		if a.listed == action {
			l.Give(a.option, not)
		}
	}
	for _, value := range [][2]string{{"seconds: ", "--seconds"}, {"reap", "--reap"}, {"hit_count: ", "--hitcount"}, {"TTL-Match", "--rttl"}, {"name: ", "--name"}} {
		switch {
		case value[0][len(value[0])-1] != ' ':
			l.Flag(value[0], value[1])
		case l.Take(value[0]):
			l.Give(value[1], false, l.Word())
		}
	}
	l.Flag("side: source", "--rsource")
	l.Flag("side: dest", "--rdest")
	if l.Take("mask: ") {
		l.Give("--mask", false, l.Word())
	}
	return true
}
