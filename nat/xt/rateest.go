package xt

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"natlab/nat/rules"
)

// RateEst is -m rateest: what an estimator of -j RATEEST has measured, compared with numbers or with another one's
// (xt_rateest.c).
type RateEst struct {
	Not    bool
	Mode   RateEstMode
	Delta  bool   // how far the rates are below the numbers is compared
	First  string // an estimator
	Second string // "": the numbers of the second side
	Bits   *[2]uint32
	// Packets are a second, as are Bits: bytes, for all their name. nil: not compared. A number that is not used is 0.
	Packets *[2]uint32
}

// RateEstMode is how rates are compared (enum xt_rateest_match_mode).
type RateEstMode uint8

// The modes.
const (
	RateEqual RateEstMode = iota + 1
	RateLess
	RateGreater
)

var rateEstModes = []string{RateEqual: "eq", RateLess: "lt", RateGreater: "gt"}

// Bits of xt_rateest_match_info.flags.
const (
	rateInvert  = 1 << iota // XT_RATEEST_MATCH_INVERT
	rateNumbers             // XT_RATEEST_MATCH_ABS
	rateSecond              // XT_RATEEST_MATCH_REL
	rateDelta               // XT_RATEEST_MATCH_DELTA
	rateBits                // XT_RATEEST_MATCH_BPS
	ratePackets             // XT_RATEEST_MATCH_PPS
)

var rateEstRow = Extension{
	Name: "rateest",
	Options: []Option{
		{Name: "--rateest1", Also: []string{"--rateest"}, Values: 1},
		{Name: "--rateest2", Values: 1},
		{Name: "--rateest-bps1", Maybe: true},
		{Name: "--rateest-pps1", Maybe: true},
		{Name: "--rateest-bps2", Also: []string{"--rateest-bps"}, Maybe: true},
		{Name: "--rateest-pps2", Also: []string{"--rateest-pps"}, Maybe: true},
		{Name: "--rateest-delta"},
		{Name: "--rateest-lt", Not: true},
		{Name: "--rateest-gt", Not: true},
		{Name: "--rateest-eq", Not: true},
	},
	Examples: []string{
		"--rateest RE1 --rateest-lt --rateest-bps 8bit", "--rateest RE1 ! --rateest-eq --rateest-pps 5", "--rateest RE1 --rateest-gt --rateest-bps 2000Mbit",
		"--rateest-delta --rateest RE1 --rateest-bps1 8bit --rateest-lt --rateest-bps2 16bit", "--rateest1 RE1 --rateest-gt --rateest-bps --rateest2 RE2",
		"--rateest-delta --rateest1 RE1 --rateest-pps1 0 --rateest-lt --rateest-pps2 42 --rateest2 RE2",
	},
	Before: []string{"-j RATEEST --rateest-name RE1 --rateest-interval 250.0ms --rateest-ewmalog 500.0ms", "-j RATEEST --rateest-name RE2 --rateest-interval 250.0ms --rateest-ewmalog 500.0ms"},
	Parse:  parseRateEst,
	Listed: listedRateEst,
	// struct xt_rateest_match_info { char name1[16], name2[16]; __u16 flags, mode; __u32 bps1, pps1, bps2, pps2;
	// struct xt_rateest *est1, *est2; };
	Layouts:   layouts(layout(0, 72, decodeRateEst, encodeRateEst)),
	Remembers: true,
}

func parseRateEst(a *Args) Value {
	var m RateEst
	a.Once("--rateest-lt", "--rateest-gt", "--rateest-eq") // iptables takes none of them twice, but prints it so
	a.Need("--rateest1")
	a.Need("--rateest-bps1", "--rateest-bps2", "--rateest-pps1", "--rateest-pps2")
	a.Need("--rateest-lt", "--rateest-gt", "--rateest-eq")
	for g := range a.Options {
		switch name := g.Name(); name {
		case "--rateest1":
			m.First = g.Cut(15)
		case "--rateest2":
			m.Second = g.Cut(15)
		case "--rateest-delta":
			m.Delta = true
		case "--rateest-bps1", "--rateest-bps2":
			m.Bits = withRate(m.Bits, name, g, (*Given).bitRate)
		case "--rateest-pps1", "--rateest-pps2":
			m.Packets = withRate(m.Packets, name, g, func(g *Given) uint32 { return uint32(g.Uint(32)) })
		default:
			m.Not = m.Not || g.Not
			for mode, word := range rateEstModes {
				if word != "" && strings.HasSuffix(name, word) {
					m.Mode = RateEstMode(mode)
				}
			}
		}
	}
	return m
}

// withRate sets the number of one side, which may be left out.
func withRate(rates *[2]uint32, name string, g *Given, read func(g *Given) uint32) *[2]uint32 {
	if rates == nil {
		rates = &[2]uint32{}
	}
	if len(g.Values) > 0 {
		rates[flagByte(strings.HasSuffix(name, "2"))] = read(g)
	}
	return rates
}

// bitUnits are the units of rates, in bits a second.
var bitUnits = []struct {
	name string
	size float64
}{
	{"", 1},
	{"bit", 1},
	{"Kibit", 1 << 10},
	{"kbit", 1e3},
	{"Mibit", 1 << 20},
	{"mbit", 1e6},
	{"Gibit", 1 << 30},
	{"gbit", 1e9},
	{"Tibit", 1 << 40},
	{"tbit", 1e12},
	{"Bps", 8},
	{"KiBps", 8 << 10},
	{"KBps", 8e3},
	{"MiBps", 8 << 20},
	{"MBps", 8e6},
	{"GiBps", 8 << 30},
	{"GBps", 8e9},
	{"TiBps", 8 << 40},
	{"TBps", 8e12},
}

// quantity is the number at the beginning of a text, with what follows it.
func quantity(text string) (n float64, unit string, ok bool) {
	end := len(text) - len(strings.TrimLeft(text, "+-0123456789."))
	n, err := strconv.ParseFloat(text[:end], 64)
	return n, text[end:], err == nil
}

// bitRate is the first value as a rate, in bytes a second.
func (g *Given) bitRate() uint32 {
	n, unit, ok := quantity(g.Text())
	for _, u := range bitUnits {
		if ok && strings.EqualFold(u.name, unit) {
			if bytes := n * u.size / 8; bytes >= 0 && bytes <= math.MaxUint32 {
				return uint32(bytes)
			}
		}
	}
	g.bad(0, "a rate such as 5mbit, below 34 Gbit a second")
	return 0
}

func decodeRateEst(d []byte, _ *Env) (RateEst, bool) {
	flags, mode := order.Uint16(d[32:]), order.Uint16(d[34:])
	m := RateEst{
		Not: flags&rateInvert != 0, Mode: RateEstMode(mode), Delta: flags&rateDelta != 0, First: cString(d[:16]), Second: cString(d[16:32]),
	}
	at := func(i int) *[2]uint32 { return &[2]uint32{order.Uint32(d[36+4*i:]), order.Uint32(d[44+4*i:])} }
	if flags&rateBits != 0 {
		m.Bits = at(0)
	}
	if flags&ratePackets != 0 {
		m.Packets = at(1)
	}
	known := flags < 1<<6 && mode >= 1 && mode <= uint16(RateGreater) && flags&(rateBits|ratePackets) != 0
	return m, known && (m.Second != "") == (flags&rateSecond != 0) && (flags&rateSecond != 0) != (flags&rateNumbers != 0)
}

func encodeRateEst(m RateEst, d []byte, _ *Env) error {
	flags := uint16(flagByte(m.Not))*rateInvert | uint16(flagByte(m.Delta))*rateDelta | rateNumbers
	if m.Second != "" {
		flags ^= rateNumbers | rateSecond
	}
	for i, rates := range []*[2]uint32{m.Bits, m.Packets} {
		if rates != nil {
			flags |= rateBits << i
			order.PutUint32(d[36+4*i:], rates[0])
			order.PutUint32(d[44+4*i:], rates[1])
		}
	}
	order.PutUint16(d[32:], flags)
	order.PutUint16(d[34:], uint16(m.Mode))
	if err := putString(d[:16], m.First); err != nil {
		return err
	}
	return putString(d[16:32], m.Second)
}

// Name is "rateest".
func (RateEst) Name() string { return "rateest" }

// Save prints both sides and the comparison, once for bits and once for packets.
func (m RateEst) Save(p *Printer) {
	p.Flag(m.Delta, "--rateest-delta")
	if m.Second == "" {
		p.Text(" --rateest ", m.First)
	} else {
		p.Text(" --rateest1 ", m.First)
	}
	side := func(name string, rates *[2]uint32, text func(rate uint32) string) {
		if rates == nil {
			return
		}
		suffix := ""
		if m.Delta {
			p.Text(" --rateest-", name, "1", text(rates[0]))
			suffix = "2"
		}
		m.printMode(p, " --rateest-")
		p.Text(" --rateest-", name, suffix)
		if m.Delta || m.Second == "" {
			p.Text(text(rates[1]))
		}
	}
	side("bps", m.Bits, func(rate uint32) string { return " " + bitText(rate, p.Exact) })
	side("pps", m.Packets, rateText32)
	if m.Second != "" {
		p.Text(" --rateest2 ", m.Second)
	}
}

func (m RateEst) printMode(p *Printer, prefix string) {
	p.Not(m.Not)
	p.Text(prefix, rateEstModes[m.Mode])
}

func rateText32(rate uint32) string { return " " + strconv.FormatUint(uint64(rate), 10) }

// bitText is a rate in bits, which iptables-save rounds; exactly where that is asked for and makes a difference.
func bitText(rate uint32, exact bool) string {
	bits := uint64(rate) * 8
	for _, u := range []struct {
		name string
		size uint64
	}{{"Mbit", 1e6}, {"Kbit", 1e3}} {
		if bits >= 1000*u.size && (!exact || bits%u.size == 0) {
			return strconv.FormatFloat(float64(bits)/float64(u.size), 'f', 0, 64) + u.name
		}
	}
	return strconv.FormatUint(bits, 10) + "bit"
}

// List prints both sides and the comparison as iptables -L -n does: bits are bytes.
func (m RateEst) List(p *Printer) {
	p.Text(" rateest match ", m.First)
	p.Flag(m.Delta, "delta")
	number := func(on bool, rates *[2]uint32, i int) {
		if on {
			p.Text(rateText32(rates[i]))
		}
	}
	if m.Bits != nil {
		p.Text(" bps")
		number(m.Delta, m.Bits, 0)
		if m.Second == "" {
			number(true, m.Bits, 1)
			m.printMode(p, " ")
		}
	}
	if m.Packets != nil {
		p.Text(" pps")
		number(m.Delta, m.Packets, 0)
		if m.Second == "" {
			m.printMode(p, " ")
			number(true, m.Packets, 1)
		}
	}
	if m.Second == "" {
		return
	}
	m.printMode(p, " ")
	p.Text(" ", m.Second)
	if m.Bits != nil {
		p.Text(" bps")
		number(m.Delta, m.Bits, 1)
	}
	if m.Packets != nil {
		p.Text(" pps")
		number(m.Delta, m.Packets, 1)
	}
}

// What List prints: with numbers the comparison stands once for each; with another estimator once, and both names of numbers
// on both sides of it.
var (
	listedRates = regexp.MustCompile(`^rateest match (\S+)( delta)?(?:( bps)(?: (\d\w*))?? (\d\w*) ((?:! )?(?:eq|lt|gt)))?` +
		`(?:( pps)(?: (\d+))?? ((?:! )?(?:eq|lt|gt)) (\d+))?(?: +|$)`)
	listedEstimators = regexp.MustCompile(`^rateest match (\S+)( delta)?(?:( bps)(?: (\d\w*))?)?(?:( pps)(?: (\d+))?)? ` +
		`((?:! )?(?:eq|lt|gt)) (\S+)(?:( bps)(?: (\d\w*))?)?(?:( pps)(?: (\d+))?)?(?: +|$)`)
)

func listedRateEst(l *Listing) bool {
	words := listedEstimators.FindStringSubmatch(l.rest)
	second := words != nil && words[3] == words[9] && words[5] == words[11]
	if second {
		l.listedRate("bps", words[3] != "", words[4], words[10])
		l.listedRate("pps", words[5] != "", words[6], words[12])
		l.Give("--rateest2", false, words[8])
		l.listedMode(words[7])
	} else {
		if words = listedRates.FindStringSubmatch(l.rest); words == nil {
			return false
		}
		l.listedRate("bps", words[3] != "", words[4], words[5])
		l.listedRate("pps", words[7] != "", words[8], words[10])
		l.listedMode(words[6] + words[9])
	}
	if words[2] != "" {
		l.Give("--rateest-delta", false)
	}
	l.Give("--rateest1", false, words[1])
	l.rest = l.rest[len(words[0]):]
	return true
}

// listedRate gives both numbers of what is compared, as far as there are any. With -n bits are bytes.
func (l *Listing) listedRate(name string, compared bool, numbers ...string) {
	for i, n := range numbers {
		if _, bytes := Number(n, math.MaxUint32); bytes && name == "bps" {
			n += "Bps"
		}
		switch option := "--rateest-" + name + strconv.Itoa(i+1); {
		case n != "":
			l.Give(option, false, n)
		case compared:
			l.Give(option, false)
		}
	}
}

// listedMode gives the comparison, which may be there twice.
func (l *Listing) listedMode(text string) {
	l.Give("--rateest-"+text[len(text)-2:], strings.HasPrefix(text, "!"))
}

// Holds compares what was measured. An estimator that has seen nothing has rates of 0; what another one has at this moment
// depends on when its timer last went off, which is not known.
func (m RateEst) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Rememberer)
	if !ok || w.Memory() == nil || *seenBy(w, m.First) || m.Second != "" && *seenBy(w, m.Second) {
		return rules.Unknown
	}
	holds := true
	for _, rates := range []*[2]uint32{m.Bits, m.Packets} {
		if rates == nil {
			continue
		}
		var first, second uint32
		if m.Delta {
			first, second = rates[0], rates[1]
		}
		if m.Second == "" {
			second = rates[1]
		}
		switch m.Mode {
		case RateLess:
			holds = holds && first < second
		case RateGreater:
			holds = holds && first > second
		case RateEqual:
			holds = holds && first == second
		}
	}
	return rules.Is(holds, m.Not)
}

// estimatorKey is under which it is remembered that an estimator has seen packets.
type estimatorKey struct{ name string }

func seenBy(w rules.Rememberer, name string) *bool {
	return rules.Recall(w.Memory(), estimatorKey{name}, func() bool { return false })
}

// Actual tells that the rates are not so.
func (m RateEst) Actual(*rules.Visit) string { return "the rates of " + m.First + " are 0" }
