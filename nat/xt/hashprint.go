package xt

import (
	"math"
	"strconv"
	"strings"
)

// Name is "hashlimit".
func (HashLimit) Name() string { return "hashlimit" }

// Save prints the rate and how packets are grouped; what is the default, or follows from the rate, is left out.
func (m HashLimit) Save(p *Printer) {
	expire := m.printRate(p, m.Cost, [2]string{" --hashlimit-upto ", " --hashlimit-above "}, " --hashlimit-burst ")
	if m.Keys != 0 {
		p.Text(" --hashlimit-mode ", m.keyNames(","))
	}
	p.Text(" --hashlimit-name ", m.Table)
	m.printTable(p, " --hashlimit-", expire)
}

// List prints the same as iptables -L does, without the table's name.
func (m HashLimit) List(p *Printer) {
	cost := m.Cost
	if m.Interval != 0 {
		cost *= uint64(m.Interval)
	}
	expire := m.printRate(p, cost, [2]string{" limit: up to ", " limit: above "}, " burst ")
	if m.Keys != 0 {
		p.Text(" mode ", m.keyNames("-"))
	}
	m.printTable(p, " ", expire)
}

// listedHashLimit reads what List prints. The name of the table is not in it: each rule gets a table of its own.
func listedHashLimit(l *Listing) bool {
	option := "--hashlimit-upto"
	if !l.Take("limit: up to ") {
		if option = "--hashlimit-above"; !l.Take("limit: above ") {
			return false
		}
	}
	rate := l.Word()
	for _, name := range []string{"burst", "mode", "htable-size", "htable-max", "htable-gcinterval", "htable-expire", "srcmask", "dstmask"} {
		if l.TakeWord(name) {
			l.Give("--hashlimit-"+name, false, strings.ReplaceAll(l.Word(), "-", ","))
		}
	}
	l.Flag("rate-match", "--hashlimit-rate-match")
	if l.TakeWord("rate-interval") { // the rate of packets was divided by it
		interval := l.Word()
		l.Give("--hashlimit-rate-interval", false, interval)
		rate = multipliedRate(rate, interval)
	}
	l.Give(option, false, rate)
	l.Give("--hashlimit-name", false, l.Unnamed)
	l.Missing = "the name of its table, which another rule may share"
	return true
}

// multipliedRate is a rate of packets, N/UNIT, times a number.
func multipliedRate(rate, by string) string {
	text, unit, packets := strings.Cut(rate, "/")
	n, ok := Number(text, math.MaxUint32)
	factor, ok2 := Number(by, math.MaxUint32)
	if !ok || !ok2 || !packets {
		return rate
	}
	return strconv.FormatUint(n*factor, 10) + "/" + unit
}

// printRate prints the rate and the burst, and tells after how many ms a group of such a rate is forgotten.
func (m HashLimit) printRate(p *Printer, cost uint64, options [2]string, burst string) (expire uint32) {
	p.Text(options[flagByte(m.Above)])
	if !m.Bytes {
		scale := uint64(hashScale)
		if m.Coarse {
			scale = hashCoarse
		}
		text, unit := hashRateText(cost, scale)
		p.Textf("%s%s%d", text, burst, m.Burst)
		return unit * 1000
	}
	rate := costToBytes(m.Cost)
	factor := byteUnits[len(byteUnits)-1]
	for _, f := range byteUnits[:len(byteUnits)-1] {
		if rate >= f.size && bytesToCost(rate&^(f.size-1)) == m.Cost {
			factor = f
			break
		}
	}
	p.Textf("%d%sb/s", rate/factor.size, factor.name)
	if m.Burst == 0 {
		return hashByteExpire
	}
	rate *= m.Burst
	factor = byteUnits[len(byteUnits)-1]
	for _, f := range byteUnits[:len(byteUnits)-1] {
		if rate >= f.size {
			factor = f
			break
		}
	}
	p.Textf("%s%d%sb", burst, rate/factor.size, factor.name)
	return hashByteBurst
}

var byteUnits = [...]struct {
	name string
	size uint64
}{{"m", 1 << 20}, {"k", 1 << 10}, {"", 1}}

// hashRateText is a rate in words, and the seconds of its unit (print_rate).
func hashRateText(period, scale uint64) (text string, unit uint32) {
	if period == 0 {
		return "inf", 0
	}
	i := 1
	for ; i < len(limitUnits); i++ {
		if size := scale * uint64(limitUnits[i].Seconds); period > size || size/period < size%period {
			break
		}
	}
	u := limitUnits[i-1]
	return strconv.FormatUint(scale*uint64(u.Seconds)/period, 10) + "/" + u.Name, u.Seconds
}

func (m HashLimit) keyNames(separator string) string {
	var names []string
	for _, k := range hashKeyNames {
		if m.Keys&k.key != 0 {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, separator)
}

func (m HashLimit) printTable(p *Printer, prefix string, expire uint32) {
	prefix = strings.TrimPrefix(prefix, " ")
	number := func(on bool, name string, n uint32) {
		if on {
			p.Number(prefix+name, uint64(n))
		}
	}
	number(m.Size != 0, "htable-size", m.Size)
	number(m.Max != 0, "htable-max", m.Max)
	number(m.GCInterval != hashGCInterval, "htable-gcinterval", m.GCInterval)
	number(m.Expire != expire, "htable-expire", m.Expire)
	number(m.SrcMask != m.Width, "srcmask", uint32(m.SrcMask))
	number(m.DstMask != m.Width, "dstmask", uint32(m.DstMask))
	p.Flag(m.RateMatch, prefix+"rate-match")
	number(m.RateMatch && m.Interval != 1, "rate-interval", m.Interval)
}
