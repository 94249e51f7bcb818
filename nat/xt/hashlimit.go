package xt

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// HashLimit is -m hashlimit: a rate for each group of packets (xt_hashlimit.c).
type HashLimit struct {
	Above bool // --hashlimit-above; else --hashlimit-upto
	Bytes bool // the rate is of bytes
	// Cost is what a packet costs, in 1/1000000 s, or in 1/10000 s where Coarse; of bytes it is (2^32-1) / (n+1) for a rate of
	// n times 16 bytes a second.
	Cost   uint64
	Coarse bool   // revision 1, where that is not printed as the newer ones do
	Burst  uint64 // packets, or seconds of the rate of bytes: 0 for none
	Keys   HashKeys
	// SrcMask and DstMask are the lengths of the networks that addresses are grouped by, of so many bits.
	SrcMask, DstMask, Width uint8
	Table                   string // --hashlimit-name
	Size                    uint32 // buckets; 0: as the kernel likes
	Max                     uint32 // groups; 0: as the kernel likes
	GCInterval              uint32 // ms
	Expire                  uint32 // after how many ms a group is forgotten
	RateMatch               bool
	Interval                uint32 // s, of RateMatch
}

// HashKeys are what packets of a group have in common (XT_HASHLIMIT_HASH_*).
type HashKeys uint8

// The keys.
const (
	HashDst HashKeys = 1 << iota
	HashDstPort
	HashSrc
	HashSrcPort
)

// Further bits of hashlimit_cfg.mode.
const (
	hashInvert    = 1 << 4 // XT_HASHLIMIT_INVERT
	hashBytes     = 1 << 5 // XT_HASHLIMIT_BYTES
	hashRateMatch = 1 << 6 // XT_HASHLIMIT_RATE_MATCH
)

// hashKeyNames are the keys in the order in which they are printed.
var hashKeyNames = [...]struct {
	name string
	key  HashKeys
}{{"srcip", HashSrc}, {"srcport", HashSrcPort}, {"dstip", HashDst}, {"dstport", HashDstPort}}

const (
	hashScale      = 1000000 // XT_HASHLIMIT_SCALE_v2
	hashCoarse     = 10000   // XT_HASHLIMIT_SCALE
	hashBurst      = 5       // XT_HASHLIMIT_BURST
	hashBurstMax   = 1000000 // XT_HASHLIMIT_BURST_MAX
	hashGCInterval = 1000    // XT_HASHLIMIT_GCINTERVAL, ms
	hashByteExpire = 15000   // XT_HASHLIMIT_BYTE_EXPIRE, ms
	hashByteBurst  = 60000   // XT_HASHLIMIT_BYTE_EXPIRE_BURST, ms
	hashChunk      = 16      // bytes are counted in chunks of so many (XT_HASHLIMIT_BYTE_SHIFT)
)

var hashLimitRow = Extension{
	Name: "hashlimit",
	Options: []Option{
		{Name: "--hashlimit-upto", Also: []string{"--hashlimit"}, Values: 1, Not: true},
		{Name: "--hashlimit-above", Values: 1, Not: true},
		{Name: "--hashlimit-burst", Values: 1},
		{Name: "--hashlimit-mode", Values: 1},
		{Name: "--hashlimit-name", Values: 1},
		{Name: "--hashlimit-htable-size", Values: 1},
		{Name: "--hashlimit-htable-max", Values: 1},
		{Name: "--hashlimit-htable-gcinterval", Values: 1},
		{Name: "--hashlimit-htable-expire", Values: 1},
		{Name: "--hashlimit-srcmask", Values: 1},
		{Name: "--hashlimit-dstmask", Values: 1},
		{Name: "--hashlimit-rate-match"},
		{Name: "--hashlimit-rate-interval", Values: 1},
	},
	Examples: []string{
		"--hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name one",
		"--hashlimit-above 1/min --hashlimit-burst 10 --hashlimit-mode srcip,srcport,dstip,dstport --hashlimit-name two --hashlimit-htable-size 100 --hashlimit-htable-max 2000 --hashlimit-htable-gcinterval 500 --hashlimit-htable-expire 7000 --hashlimit-srcmask 24 --hashlimit-dstmask 0",
		"--hashlimit-upto 10mb/s --hashlimit-name three", "--hashlimit-above 4kb/s --hashlimit-burst 400kb --hashlimit-mode srcip --hashlimit-name four",
		"--hashlimit-upto 40/sec --hashlimit-burst 20 --hashlimit-mode srcip --hashlimit-name five --hashlimit-rate-match --hashlimit-rate-interval 10",
		"--hashlimit-above 123456b/s --hashlimit-mode dstip --hashlimit-name six --hashlimit-rate-match",
	},
	Parse:  parseHashLimit,
	Listed: listedHashLimit,
	Layouts: layouts(
		layout(3, 312, decodeHashLimit(3), encodeHashLimit(3)).since(Version{1, 6, 2}),
		layout(2, 304, decodeHashLimit(2), encodeHashLimit(2)).since(Version{1, 6, 1}),
		layout(1, 56, decodeHashLimit1, encodeHashLimit1),
	),
	Remembers: true,
}

// hashLimitReader is what is known of the options until all have been read.
type hashLimitReader struct {
	HashLimit
	unit   uint32 // seconds, of the rate
	expire bool   // --hashlimit-htable-expire was given
	burst  bool   // --hashlimit-burst was given
}

func parseHashLimit(a *Args) Value {
	width := uint8(widthOf(a.Family))
	r := hashLimitReader{HashLimit: HashLimit{Burst: hashBurst, GCInterval: hashGCInterval, SrcMask: width, DstMask: width, Width: width}, unit: 1}
	a.Once()
	a.Need("--hashlimit-upto", "--hashlimit-above")
	a.Exclusive("--hashlimit-upto", "--hashlimit-above")
	a.Need("--hashlimit-name")
	for g := range a.Options {
		r.option(g)
	}
	if a.Err() == nil {
		r.finish(a)
	}
	return r.HashLimit
}

func (r *hashLimitReader) option(g *Given) {
	switch g.Name() {
	case "--hashlimit-upto", "--hashlimit-above":
		r.Above = (g.Name() == "--hashlimit-above") != g.Not
		r.rate(g)
	case "--hashlimit-burst":
		r.Burst, r.burst = hashBurstOf(g), true
	case "--hashlimit-mode":
		r.keys(g)
	case "--hashlimit-name":
		if r.Table = g.Cut(254); !isProcName(r.Table) {
			g.bad(0, "a name that a file below /proc/net/ipt_hashlimit can have")
		}
	case "--hashlimit-htable-size":
		r.Size = uint32(g.Uint(32))
	case "--hashlimit-htable-max":
		r.Max = uint32(g.Uint(32))
	case "--hashlimit-htable-gcinterval":
		r.GCInterval = uint32(g.Within(1, math.MaxUint32))
	case "--hashlimit-htable-expire":
		r.Expire, r.expire = uint32(g.Within(1, math.MaxUint32)), true
	case "--hashlimit-srcmask":
		r.SrcMask = uint8(g.prefixLength())
	case "--hashlimit-dstmask":
		r.DstMask = uint8(g.prefixLength())
	case "--hashlimit-rate-match":
		r.RateMatch = true
	case "--hashlimit-rate-interval":
		if n := atoi(g.Text()); n > 0 {
			r.Interval = uint32(n)
		} else {
			g.bad(0, "seconds")
		}
	}
}

// isProcName reports whether a file of /proc can have a name (xt_check_proc_name).
func isProcName(s string) bool { return s != "" && s != "." && s != ".." && !strings.Contains(s, "/") }

// rate reads "5/sec", or "10mb/s".
func (r *hashLimitReader) rate(g *Given) {
	if at := strings.Index(g.Text(), "b/s"); at > 0 && atoll(g.Text()) != 0 {
		n := uint64(atoll(g.Text())) * hashFactor(g.Text()[at-1])
		r.Bytes, r.Cost = true, bytesToCost(n)
		if r.Cost*hashCredit>>32 == 0 { // user2credits_byte
			g.bad(0, "a rate that is lower")
		}
		return
	}
	number, unit, has := strings.Cut(g.Text(), "/")
	seconds, ok := unitSeconds(unit)
	if !has {
		seconds, ok = 1, true
	}
	n := atoll(number)
	if !ok || n == 0 {
		g.bad(0, "NUMBER[/second|/minute|/hour|/day] or NUMBER[k|m]b/s")
		return
	}
	r.unit, r.Cost = seconds, hashScale*uint64(seconds)/uint64(n)
	if r.Cost == 0 {
		g.bad(0, "at most "+strconv.Itoa(hashScale)+" in a second")
	}
}

func hashFactor(c byte) uint64 {
	switch c {
	case 'm':
		return 1 << 20
	case 'k':
		return 1 << 10
	}
	return 1
}

func bytesToCost(bytes uint64) uint64 {
	return math.MaxUint32 / uint64(uint32(bytes/hashChunk)+1)
}

func costToBytes(cost uint64) uint64 {
	if cost == 0 {
		cost = 1
	}
	return (math.MaxUint32/cost - 1) * hashChunk
}

// hashBurstOf reads a number of packets, or one with k or m and anything behind it.
func hashBurstOf(g *Given) uint64 {
	digits, unit := g.Text(), ""
	for digits != "" {
		if _, ok := Number(digits, math.MaxUint64); ok {
			break
		}
		digits, unit = digits[:len(digits)-1], g.Text()[len(digits)-1:]
	}
	n, ok := Number(digits, math.MaxUint64)
	if !ok || n == 0 || unit == "" && n > hashBurstMax {
		g.bad(0, "1 to "+strconv.Itoa(hashBurstMax)+", or NUMBER[k|m]b")
		return 0
	}
	if unit != "" {
		n *= hashFactor(unit[0])
	}
	return n
}

// keys reads "srcip,dstip"; strtok passes over what is empty.
func (r *hashLimitReader) keys(g *Given) {
next:
	for w := range strings.FieldsFuncSeq(g.Text(), func(c rune) bool { return c == ',' || c == '|' }) {
		for _, k := range hashKeyNames {
			if k.name == w {
				r.Keys |= k.key
				continue next
			}
		}
		g.bad(0, "some of srcip,srcport,dstip,dstport")
	}
}

// finish fills in what other options tell (hashlimit_mt_check).
func (r *hashLimitReader) finish(a *Args) {
	expire := r.unit * 1000
	switch {
	case r.Bytes:
		expire = hashByteExpire
		if least := costToBytes(r.Cost); r.burst {
			if r.Burst < least {
				a.Fail("--hashlimit-burst: want at least %db, what comes in a second", least)
			}
			r.Burst, expire = uint64(uint32((r.Burst+least-1)/max(least, 1))), hashByteBurst
		} else {
			r.Burst = 0
		}
	case r.Burst > hashBurstMax:
		a.Fail("--hashlimit-burst: want at most %d packets", hashBurstMax)
	}
	if !r.expire {
		r.Expire = expire
	}
	if !r.RateMatch {
		return
	}
	if !r.Bytes {
		r.Cost /= uint64(r.unit)
	}
	if r.Interval == 0 {
		if r.Interval = r.unit; r.Bytes {
			r.Interval = 1
		}
	}
}

// Where the fields of struct hashlimit_cfg2 and 3 stand behind the name: { __u64 avg, burst; __u32 mode, size, max,
// gc_interval, expire; [__u32 interval;] __u8 srcmask, dstmask; }.
const (
	hashCfgAt  = 256
	hashModeAt = hashCfgAt + 16
)

func decodeHashLimit(revision uint8) func(d []byte, _ *Env) (HashLimit, bool) {
	return func(d []byte, e *Env) (HashLimit, bool) {
		m := HashLimit{Width: uint8(widthOf(e.Family)), Table: cString(d[:255]), Cost: order.Uint64(d[hashCfgAt:]), Burst: order.Uint64(d[hashCfgAt+8:])}
		masks := d[hashModeAt+20:]
		ok := m.decode(d[hashModeAt:], 1<<(revision+4)-1)
		if revision == 3 {
			m.Interval = order.Uint32(masks)
			masks = masks[4:]
		}
		m.SrcMask, m.DstMask = masks[0], masks[1]
		return m, ok
	}
}

// decode reads mode, size, max, gc_interval and expire.
func (m *HashLimit) decode(d []byte, known uint32) bool {
	mode := order.Uint32(d)
	m.Keys, m.Above, m.Bytes, m.RateMatch = HashKeys(mode&15), mode&hashInvert != 0, mode&hashBytes != 0, mode&hashRateMatch != 0
	m.Size, m.Max, m.GCInterval, m.Expire = order.Uint32(d[4:]), order.Uint32(d[8:]), order.Uint32(d[12:]), order.Uint32(d[16:])
	return mode&^known == 0
}

func encodeHashLimit(revision uint8) func(m HashLimit, d []byte, _ *Env) error {
	return func(m HashLimit, d []byte, _ *Env) error {
		cost := m.Cost
		if m.Coarse && !m.Bytes {
			cost *= hashScale / hashCoarse
		}
		order.PutUint64(d[hashCfgAt:], cost)
		order.PutUint64(d[hashCfgAt+8:], m.Burst)
		m.encode(d[hashModeAt:])
		masks := d[hashModeAt+20:]
		if revision == 3 {
			order.PutUint32(masks, m.Interval)
			masks = masks[4:]
		} else if m.RateMatch || m.Interval != 0 {
			return errors.New("--hashlimit-rate-match needs revision 3 of hashlimit")
		}
		masks[0], masks[1] = m.SrcMask, m.DstMask
		return putString(d[:255], m.Table)
	}
}

func (m *HashLimit) encode(d []byte) {
	order.PutUint32(d, uint32(m.Keys)|uint32(flagByte(m.Above))*hashInvert|uint32(flagByte(m.Bytes))*hashBytes|uint32(flagByte(m.RateMatch))*hashRateMatch)
	for i, n := range []uint32{m.Size, m.Max, m.GCInterval, m.Expire} {
		order.PutUint32(d[4+4*i:], n)
	}
}

// struct xt_hashlimit_mtinfo1 { char name[16]; struct { __u32 mode, avg, burst, size, max, gc_interval, expire; __u8 srcmask,
// dstmask; } cfg; struct xt_hashlimit_htable *hinfo; };
func decodeHashLimit1(d []byte, e *Env) (HashLimit, bool) {
	m := HashLimit{Width: uint8(widthOf(e.Family)), Table: cString(d[:16]), Burst: uint64(order.Uint32(d[24:])), SrcMask: d[44], DstMask: d[45]}
	mode := append(append([]byte{}, d[16:20]...), d[28:44]...)
	ok := m.decode(mode, 1<<6-1)
	m.Cost = uint64(order.Uint32(d[20:]))
	if fine := m.Cost * (hashScale / hashCoarse); !m.Bytes {
		coarse, _ := hashRateText(m.Cost, hashCoarse)
		text, _ := hashRateText(fine, hashScale)
		if m.Coarse = coarse != text; !m.Coarse {
			m.Cost = fine
		}
	}
	return m, ok
}

func encodeHashLimit1(m HashLimit, d []byte, _ *Env) error {
	cost := m.Cost
	if !m.Bytes && !m.Coarse {
		cost /= hashScale / hashCoarse
	}
	if m.RateMatch || m.Interval != 0 || cost == 0 || cost > math.MaxUint32 || m.Burst > math.MaxUint32 {
		return errors.New("that rate needs a newer revision of hashlimit")
	}
	mode := make([]byte, 20)
	m.encode(mode)
	copy(d[16:], mode[:4])
	copy(d[28:], mode[4:])
	order.PutUint32(d[20:], uint32(cost))
	order.PutUint32(d[24:], uint32(m.Burst))
	d[44], d[45] = m.SrcMask, m.DstMask
	return putString(d[:16], m.Table)
}
