package xtables

import "net/netip"

// recentMatches are xt_recent with and without a mask:
//
//	struct xt_recent_mtinfo_v1 { __u32 seconds, hit_count; __u8 check_set, invert; char name[200]; __u8 side;
//	                             union nf_inet_addr mask; }
func recentMatches() []codec {
	return []codec{
		{name: "recent", revision: 1, size: 228, save: saveRecent, list: listRecent, parse: parseRecent1},
		{name: "recent", revision: 0, size: 211, save: saveRecent, list: listRecent, parse: parseRecent},
	}
}

// Where the fields stand.
const (
	recentHits   = 4
	recentCheck  = 8
	recentInvert = 9
	recentName   = 10
	recentSide   = 210
	recentMask   = 212
)

// recentModes are the bits of check_set that say what the match does, XT_RECENT_CHECK and so on.
var recentModes = []struct {
	bit          byte
	option, word string
}{{2, "--set", "SET"}, {1, "--rcheck", "CHECK"}, {4, "--update", "UPDATE"}, {8, "--remove", "REMOVE"}}

// Further bits of check_set.
const (
	recentTTL  = 0x10
	recentReap = 0x20
)

// mask is the mask of a revision that has one.
func recentMaskOf(p *printer, d []byte) (netip.Addr, bool) {
	if len(d) < recentMask+16 {
		return netip.Addr{}, false
	}
	return p.addr(d[recentMask:]), true
}

func saveRecent(p *printer, d []byte) {
	check := d[recentCheck]
	p.only(uint32(check), 0x3f)
	p.only(uint32(d[recentSide]), 1)
	modes := 0
	p.not(d[recentInvert] != 0)
	for _, m := range recentModes {
		if check&m.bit != 0 {
			modes++
			p.flag(true, m.option)
		}
	}
	if modes != 1 {
		p.unsaid = true
	}
	if s := order.Uint32(d); s != 0 {
		p.f(" --seconds %d", s)
	}
	p.flag(check&recentReap != 0, "--reap")
	if n := order.Uint32(d[recentHits:]); n != 0 {
		p.f(" --hitcount %d", n)
	}
	p.flag(check&recentTTL != 0, "--rttl")
	p.f(" --name %s", text(d[recentName:recentSide]))
	if m, ok := recentMaskOf(p, d); ok {
		p.f(" --mask %s", m)
	}
	p.flag(d[recentSide] == 0, "--rsource")
	p.flag(d[recentSide] == 1, "--rdest")
}

func listRecent(p *printer, d []byte) {
	check := d[recentCheck]
	p.not(d[recentInvert] != 0)
	p.WriteString(" recent:")
	for _, m := range recentModes {
		p.flag(check&m.bit != 0, m.word)
	}
	if s := order.Uint32(d); s != 0 {
		p.f(" seconds: %d", s)
	}
	p.flag(check&recentReap != 0, "reap")
	if n := order.Uint32(d[recentHits:]); n != 0 {
		p.f(" hit_count: %d", n)
	}
	p.flag(check&recentTTL != 0, "TTL-Match")
	p.f(" name: %s", text(d[recentName:recentSide]))
	p.flag(d[recentSide] == 0, "side: source")
	p.flag(d[recentSide] == 1, "side: dest")
	if m, ok := recentMaskOf(p, d); ok {
		p.f(" mask: %s", m)
	}
}

// parseRecent1 begins with a full mask in the bytes of both families, as the program does.
func parseRecent1(a *args, d []byte) {
	for i := range 16 {
		d[recentMask+i] = 0xff
	}
	parseRecent(a, d)
}

func parseRecent(a *args, d []byte) {
	copy(d[recentName:], "DEFAULT")
next:
	for o, ok := a.next(); ok; o, ok = a.next() {
		for _, m := range recentModes {
			if o == m.option {
				d[recentCheck] |= m.bit
				if a.not {
					d[recentInvert] = 1
				}
				continue next
			}
		}
		switch o {
		case "--seconds":
			order.PutUint32(d, a.u32())
		case "--hitcount":
			order.PutUint32(d[recentHits:], a.u32())
		case "--reap":
			d[recentCheck] |= recentReap
		case "--rttl":
			d[recentCheck] |= recentTTL
		case "--name":
			// The rest of "DEFAULT" stays behind the closing zero.
			name := a.value()
			a.text(name, d[recentName:recentSide])
			d[min(recentName+len(name), recentSide-1)] = 0
		case "--mask":
			if len(d) < recentMask+16 {
				a.fail("--mask needs revision 1 of recent")
				return
			}
			clear(d[recentMask : recentMask+16])
			a.addr(a.value(), d[recentMask:recentMask+16])
		case "--rsource":
			d[recentSide] = 0
		case "--rdest":
			d[recentSide] = 1
		default:
			a.unknown(o)
		}
	}
}
