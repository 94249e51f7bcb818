package xt

import (
	"strconv"
	"strings"
	"time"

	"natlab/nat/rules"
)

// Limit is -m limit (xt_limit.c). Rate is as printed: "5/min".
type Limit struct {
	Rate  string
	Burst uint32
}

const defaultBurst = 5 // XT_LIMIT_BURST

// Name is "limit".
func (Limit) Name() string { return "limit" }

// Save prints the rate, and a burst that is not the default.
func (m Limit) Save(p *Printer) {
	p.Option(false, "--limit", m.Rate)
	if m.Burst != defaultBurst {
		p.Number("--limit-burst", uint64(m.Burst))
	}
}

// bucket is a Limit's credit.
type bucket struct {
	left time.Duration
	last time.Time
}

// Holds takes a packet's worth from a bucket of burst packets that fills at the rate. Where the World does not remember it
// is not known.
func (m Limit) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Rememberer)
	each, known := m.each()
	if !ok || !known || w.Memory() == nil {
		return rules.Unknown
	}
	full, now := each*time.Duration(max(m.Burst, 1)), w.Now()
	b := rules.Recall(w.Memory(), v.At, func() bucket { return bucket{full, now} })
	b.left = min(full, b.left+now.Sub(b.last))
	b.last = now
	if b.left < each {
		return rules.No
	}
	b.left -= each
	return rules.Yes
}

// each is what one packet costs.
func (m Limit) each() (time.Duration, bool) {
	number, unit, ok := strings.Cut(m.Rate, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	of := map[string]time.Duration{"sec": time.Second, "min": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[unit]
	if !ok || err != nil || n == 0 || of == 0 {
		return 0, false
	}
	return of / time.Duration(n), true
}

// Actual tells that the rate is used up.
func (Limit) Actual(*rules.Visit) string { return "the rate is used up" }
