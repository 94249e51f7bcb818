package xtables

import (
	"math"
	"strconv"
	"strings"
)

// plainMatches look at what comes with the packet: comment, marks, chance, rate.
func plainMatches() []codec {
	return []codec{
		{name: "statistic", size: 24, save: saveStatistic, list: listStatistic, parse: parseStatistic},
		{name: "limit", size: 40, save: saveLimit, list: listLimit, parse: parseLimit},
		{name: "nfacct", revision: 1, size: 40, save: saveNFAcct, list: listNFAcct, parse: parseNFAcct},
		{name: "nfacct", size: 40, save: saveNFAcct, list: listNFAcct, parse: parseNFAcct},
	}
}

// struct xt_statistic_info { __u16 mode, flags; union { __u32 probability; struct { __u32 every, packet, count; }; };
// struct xt_statistic_priv *master; }
func saveStatistic(p *printer, d []byte) {
	p.only(uint32(order.Uint16(d[2:])), 1)
	inv := order.Uint16(d[2:]) != 0
	switch order.Uint16(d) {
	case 0:
		p.WriteString(" --mode random")
		p.not(inv)
		p.f(" --probability %.11f", probability(d))
	case 1:
		p.WriteString(" --mode nth")
		p.not(inv)
		p.f(" --every %d --packet %d", uint64(order.Uint32(d[4:]))+1, order.Uint32(d[8:]))
	default:
		p.unsaid = true
	}
}

// probability is in units of 2^-31.
func probability(d []byte) float64 { return float64(order.Uint32(d[4:])) / 0x80000000 }

func listStatistic(p *printer, d []byte) {
	bang := ""
	if order.Uint16(d[2:]) != 0 {
		bang = " !"
	}
	switch order.Uint16(d) {
	case 0:
		p.f(" statistic mode random%s probability %.11f", bang, probability(d))
	case 1:
		p.f(" statistic mode nth%s every %d", bang, uint64(order.Uint32(d[4:]))+1)
		if packet := order.Uint32(d[8:]); packet != 0 {
			p.f(" packet %d", packet)
		}
	}
}

func parseStatistic(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		inverted := a.not
		switch o {
		case "--mode":
			switch a.value() {
			case "random":
			case "nth":
				order.PutUint16(d, 1)
			default:
				a.fail("--mode: want random or nth")
			}
		case "--probability":
			order.PutUint32(d[4:], parseProbability(a))
		case "--every":
			n := a.u32()
			if n == 0 {
				a.fail("--every 0")
			}
			order.PutUint32(d[4:], n-1)
		case "--packet":
			order.PutUint32(d[8:], a.u32())
		default:
			a.unknown(o)
		}
		if inverted {
			order.PutUint16(d[2:], 1)
		}
	}
	// The iptables program sets this in either mode.
	order.PutUint32(d[12:], order.Uint32(d[4:])-order.Uint32(d[8:]))
}

// limitUnits are the units of --limit in 1/10000 s (XT_LIMIT_SCALE), longest first.
var limitUnits = []struct {
	name string
	mult uint32
}{{"day", 10000 * 24 * 60 * 60}, {"hour", 10000 * 60 * 60}, {"min", 10000 * 60}, {"sec", 10000}}

// limitRate is the period of struct xt_rateinfo in words: the largest unit that does not lose too much.
func limitRate(period uint32) string {
	if period == 0 {
		return "inf"
	}
	i := 1
	for ; i < len(limitUnits); i++ {
		if period > limitUnits[i].mult || limitUnits[i].mult/period < limitUnits[i].mult%period {
			break
		}
	}
	u := limitUnits[i-1]
	return pair(u.mult/period, u.mult/period, "") + "/" + u.name
}

// struct xt_rateinfo { __u32 avg, burst; unsigned long prev; __u32 credit, credit_cap, cost; struct xt_limit_priv *master; }
func saveLimit(p *printer, d []byte) {
	p.f(" --limit %s", limitRate(order.Uint32(d)))
	if burst := order.Uint32(d[4:]); burst != 5 {
		p.f(" --limit-burst %d", burst)
	}
}

func listLimit(p *printer, d []byte) {
	p.f(" limit: avg %s burst %d", limitRate(order.Uint32(d)), order.Uint32(d[4:]))
}

func parseLimit(a *args, d []byte) {
	order.PutUint32(d, limitUnits[1].mult/3) // 3/hour
	order.PutUint32(d[4:], 5)
	for o, ok := a.next(); ok && !a.not; o, ok = a.next() {
		switch o {
		case "--limit":
			rate, unit, has := strings.Cut(a.value(), "/")
			if !has {
				unit = "sec"
			}
			one := args{words: []string{rate}}
			n, mult := one.u32(), uint32(0)
			for _, u := range limitUnits {
				if unit != "" && strings.HasPrefix(u.name, strings.ToLower(unit)) || strings.EqualFold(unit, u.name+"ute") || strings.EqualFold(unit, u.name+"ond") {
					mult = u.mult
				}
			}
			if one.err != nil || n == 0 || mult/n == 0 {
				a.fail("--limit %s/%s", rate, unit)
				return
			}
			order.PutUint32(d, mult/n)
		case "--limit-burst":
			order.PutUint32(d[4:], a.u32())
		default:
			a.unknown(o)
		}
	}
	if a.not {
		a.unknown("!")
	}
}

// struct xt_nfacct_match_info { char name[32]; struct nf_acct *nfacct; }; revision 1 differs on 32-bit
// machines only. The second blank is the program's own.
func saveNFAcct(p *printer, d []byte) { p.WriteString(" --nfacct-name "); p.quoted(text(d[:32])) }
func listNFAcct(p *printer, d []byte) { p.WriteString(" nfacct-name "); p.quoted(text(d[:32])) }
func parseNFAcct(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		if o != "--nfacct-name" || a.not {
			a.unknown(o)
			return
		}
		a.text(a.value(), d[:32])
	}
}

func parseProbability(a *args) uint32 {
	s := a.value()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1 {
		a.fail("--probability %q: want 0 to 1", s)
	}
	return uint32(math.Round(f * 0x80000000))
}
