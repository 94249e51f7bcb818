package xt

import (
	"math"
	"strings"

	"natlab/nat/rules"
)

// EstimateRate is -j RATEEST: it measures the rate of what comes to it, and lets it go on (xt_RATEEST.c).
type EstimateRate struct {
	Estimator string
	Interval  int8  // of measurement: 2^Interval s, from -2 to 3
	Log       uint8 // of how many intervals are averaged
}

var estimateRateRow = Extension{
	Name: "RATEEST", Kind: TargetKind,
	Options: []Option{
		{Name: "--rateest-name", Values: 1},
		{Name: "--rateest-interval", Values: 1},
		{Name: "--rateest-ewmalog", Values: 1},
	},
	Examples: []string{"--rateest-name RE1 --rateest-interval 250.0ms --rateest-ewmalog 500.0ms", "--rateest-name RE2 --rateest-interval 8.0s --rateest-ewmalog 1024.0s"},
	Parse: func(a *Args) Value {
		var t EstimateRate
		a.Once()
		a.Need("--rateest-name")
		a.Need("--rateest-interval")
		a.Need("--rateest-ewmalog")
		var interval, average float64
		for g := range a.Options {
			switch g.Name() {
			case "--rateest-name":
				t.Estimator = g.Cut(15)
			case "--rateest-interval":
				interval = g.microseconds()
			case "--rateest-ewmalog":
				average = g.microseconds()
			}
		}
		t.round(a, interval, average)
		return t
	},
	Listed: func(l *Listing) bool {
		return l.Value("name ", "--rateest-name", false) && l.Value("interval ", "--rateest-interval", false) && l.Value("ewmalog ", "--rateest-ewmalog", false)
	},
	// struct xt_rateest_target_info { char name[16]; __s8 interval; __u8 ewma_log; struct xt_rateest *est; };
	Layouts: layouts(layout(0, 32,
		func(d []byte, _ *Env) (EstimateRate, bool) {
			return EstimateRate{cString(d[:16]), int8(d[16]), d[17]}, int8(d[16]) >= -2 && int8(d[16]) <= 3 && d[17] < 32
		},
		func(t EstimateRate, d []byte, _ *Env) error {
			d[16], d[17] = byte(t.Interval), t.Log
			return putString(d[:16], t.Estimator)
		})),
	Remembers: true,
}

// microseconds is the first value as a time; without a unit it is of microseconds.
func (g *Given) microseconds() float64 {
	n, unit, ok := quantity(g.Text())
	switch strings.ToLower(unit) {
	case "s", "sec", "secs":
		n *= 1e6
	case "ms", "msec", "msecs":
		n *= 1e3
	case "", "us", "usec", "usecs":
	default:
		ok = false
	}
	if !ok || n < 0 || n > math.MaxUint32 {
		g.bad(0, "a time such as 250ms, up to 4294 s")
		return 0
	}
	return math.Floor(n)
}

// round takes the next interval that is as long, and the average that is as long as asked for at most.
func (t *EstimateRate) round(a *Args, interval, average float64) {
	i := 0
	for i <= 5 && interval > float64(uint32(250000)<<i) {
		i++
	}
	if i > 5 {
		a.Fail("--rateest-interval: want at most 8s")
	}
	log := 1
	for log < 32 && interval/-math.Log(1-1/float64(uint64(1)<<log)) <= average {
		log++
	}
	log--
	if log == 0 || log >= 31 {
		a.Fail("--rateest-ewmalog: out of range for that interval")
	}
	t.Interval, t.Log = int8(i-2), uint8(log)
}

// Name is "RATEEST".
func (EstimateRate) Name() string { return "RATEEST" }

// Save prints the estimator's name and its times.
func (t EstimateRate) Save(p *Printer) { t.print(p, " --rateest-") }

// List prints the same without dashes, and without the target's name.
func (t EstimateRate) List(p *Printer) { t.print(p, " ") }

func (t EstimateRate) print(p *Printer, prefix string) {
	interval := uint32(1000000) << (t.Interval + 2) / 4
	p.Text(prefix, "name ", t.Estimator)
	for _, time := range []struct {
		name string
		us   uint32
	}{{"interval ", interval}, {"ewmalog ", interval << t.Log}} {
		p.Text(prefix, time.name)
		switch {
		case time.us >= 1e6:
			p.Textf("%.1fs", float64(time.us)/1e6)
		case time.us >= 1e3:
			p.Textf("%.1fms", float64(time.us)/1e3)
		default:
			p.Textf("%dus", time.us)
		}
	}
}

// Act notes that the estimator has seen a packet.
func (t EstimateRate) Act(v *rules.Visit) rules.Action {
	if w, ok := v.World.(rules.Rememberer); ok && w.Memory() != nil {
		*seenBy(w, t.Estimator) = true
	}
	return rules.Continue()
}
