package xt

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"natlab/nat/rules"
)

// Limit is -m limit (xt_limit.c), which iptables-nft keeps as a limit of nf_tables that does the same.
type Limit struct {
	Period uint32 // what a packet costs, in 1/10000 s (XT_LIMIT_SCALE); 0: nothing
	Burst  uint32 // how many packets the bucket holds
}

const (
	limitScale   = 10000              // XT_LIMIT_SCALE
	defaultBurst = 5                  // XT_LIMIT_BURST
	defaultLimit = limitScale * 1200  // 3/hour
	limitTick    = time.Second / 1e04 // of Period
)

var limitRow = Extension{
	Name:     "limit",
	Options:  []Option{{Name: "--limit", Values: 1}, {Name: "--limit-burst", Values: 1}},
	Examples: []string{"--limit 5/sec", "--limit 50/min --limit-burst 10", "--limit 1000/day", "--limit 3/hour --limit-burst 1"},
	Listed: func(l *Listing) bool {
		if !l.Take("limit: avg ") {
			return false
		}
		if l.Give("--limit", false, l.Word()); l.TakeWord("burst") {
			l.Give("--limit-burst", false, l.Word())
		}
		return true
	},
	Parse: func(a *Args) Value {
		m := Limit{Period: defaultLimit, Burst: defaultBurst}
		a.Once()
		for g := range a.Options {
			if g.Name() == "--limit" {
				m.Period = g.rate()
			} else if m.Burst = uint32(g.Within(0, 10000)); m.Burst == 0 {
				m.Burst = defaultBurst // as nf_tables takes it; x_tables refuses it
			}
		}
		return m
	},
	// struct xt_rateinfo { __u32 avg, burst; unsigned long prev; __u32 credit, credit_cap, cost; struct xt_limit_priv *master; }
	Layouts: layouts(layout(0, 40,
		func(d []byte, _ *Env) (Limit, bool) { return Limit{order.Uint32(d), order.Uint32(d[4:])}, true },
		func(m Limit, d []byte, _ *Env) error {
			order.PutUint32(d, m.Period)
			order.PutUint32(d[4:], m.Burst)
			return nil
		})),
	Remembers: true,
}

// limitUnits are the units of --limit with their seconds, longest first; Long is how far a name may be spelt out.
var limitUnits = [...]struct {
	Name, Long string
	Seconds    uint32
}{{"day", "day", 24 * 60 * 60}, {"hour", "hour", 60 * 60}, {"min", "minute", 60}, {"sec", "second", 1}}

// rate is the first value as a rate, "5", "5/s", "7/minute": the period in 1/10000 s.
func (g *Given) rate() uint32 {
	number, unit, has := strings.Cut(g.Text(), "/")
	seconds, ok := unitSeconds(unit)
	if !has {
		seconds, ok = 1, true
	}
	n := atoi(number)
	if !ok || n == 0 {
		g.bad(0, "NUMBER[/second|/minute|/hour|/day]")
		return 0
	}
	if n < 0 || uint32(n) > limitScale*seconds {
		g.bad(0, fmt.Sprintf("at most %d in a second", limitScale))
		return 0
	}
	return limitScale * seconds / uint32(n)
}

// unitSeconds are the seconds of a unit, of whose name the beginning will do.
func unitSeconds(unit string) (uint32, bool) {
	for _, u := range limitUnits {
		if unit != "" && len(unit) <= len(u.Long) && strings.EqualFold(unit, u.Long[:len(unit)]) {
			return u.Seconds, true
		}
	}
	return 0, false
}

// atoi is the C library's: a number at the beginning of a text, 0 where there is none.
func atoi(s string) int32 { return int32(max(math.MinInt32, min(atoll(s), math.MaxInt32))) }

// atoll is atoi of 64 bits.
func atoll(s string) int64 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[end] == '-' || s[end] == '+')) {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	if err != nil && end <= 1 {
		return 0
	}
	return n
}

// rateText is a period in words, by the largest unit that does not lose too much of it (print_rate).
func rateText(period uint32) string {
	if period == 0 {
		return "inf"
	}
	i := 1
	for ; i < len(limitUnits); i++ {
		if unit := limitScale * limitUnits[i].Seconds; period > unit || unit/period < unit%period {
			break
		}
	}
	u := limitUnits[i-1]
	return strconv.FormatUint(uint64(limitScale*u.Seconds/period), 10) + "/" + u.Name
}

// Name is "limit".
func (Limit) Name() string { return "limit" }

// Save prints the rate, and a burst that is not the default.
func (m Limit) Save(p *Printer) {
	p.Option(false, "--limit", rateText(m.Period))
	if m.Burst != defaultBurst {
		p.Number("--limit-burst", uint64(m.Burst))
	}
}

// List prints the rate and the burst as iptables -L does.
func (m Limit) List(p *Printer) { p.Textf(" limit: avg %s burst %d", rateText(m.Period), m.Burst) }

// bucket is a Limit's credit.
type bucket struct {
	left time.Duration
	last time.Time
}

// Holds takes a packet's worth from a bucket of burst packets that fills at the rate. Where the World does not remember it
// is not known.
func (m Limit) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Rememberer)
	if !ok || w.Memory() == nil {
		return rules.Unknown
	}
	each := time.Duration(m.Period) * limitTick
	full, now := each*time.Duration(m.Burst), w.Now()
	b := rules.Recall(w.Memory(), v.At, func() bucket { return bucket{full, now} })
	b.left = min(full, b.left+now.Sub(b.last))
	b.last = now
	if b.left < each {
		return rules.No
	}
	b.left -= each
	return rules.Yes
}

// Actual tells that the rate is used up.
func (Limit) Actual(*rules.Visit) string { return "the rate is used up" }
