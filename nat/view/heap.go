package view

import (
	"slices"

	"natlab/nat"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// An old iptables does not print from the kernel's blob: libiptc copies each rule into a heap object of its own.
// What a print function reads behind the end of a rule is therefore what malloc put there, and that can be told
// only in part: the bytes that fill up the chunk, and the size field of the next one.
const (
	ruleHead  = 64 // struct rule_head in front of a rule's bytes, libiptc.c
	chainHead = 128
	chunkHead = 8 // glibc: the size field in front of an object
	chunkUnit = 16
)

func chunk(size int) int { return (size + chunkHead + chunkUnit - 1) &^ (chunkUnit - 1) }

// heap follows libiptc's allocations while it takes a table apart. An object either comes from a bin of freed ones
// of its size or stands behind the newest object; the closing rule of each chain is freed once the next chain begins.
type heap struct {
	bins map[int]int // chunk size -> how many are free
	top  []heapObject
}

type heapObject struct {
	chunk int
	rule  ruleKey
}

type ruleKey struct{ chain, rule int }

var noRule = ruleKey{-1, -1}

// alloc makes an object.
func (h *heap) alloc(size int, rule ruleKey) {
	c := chunk(size)
	if h.bins[c] > 0 {
		h.bins[c]--
		return
	}
	h.top = append(h.top, heapObject{c, rule})
}

// behind is, for each rule, which bytes stand behind its last one as far as that can be told.
func behind(t xtables.Table) map[ruleKey][]byte {
	h := heap{bins: map[int]int{}}
	for i, c := range t.Chains {
		h.alloc(chainHead, noRule)
		if i > 0 {
			h.bins[chunk(ruleHead+t.Chains[i-1].Tail.Size(t.Family))]++
		}
		for j, e := range c.Entries {
			h.alloc(ruleHead+e.Size(t.Family), ruleKey{i, j})
		}
		h.alloc(ruleHead+c.Tail.Size(t.Family), noRule)
	}
	out := map[ruleKey][]byte{}
	for i, o := range h.top {
		if o.rule == noRule {
			continue
		}
		used := ruleHead + entryAt(t, o.rule).Size(t.Family)
		known := make([]byte, o.chunk-chunkHead-used) // fresh memory is zero
		if i+1 < len(h.top) {
			const inUse = 1 // the lowest bit of a size: the chunk before it is not free
			known = order.AppendUint64(known, uint64(h.top[i+1].chunk|inUse))
		}
		out[o.rule] = known
	}
	return out
}

func entryAt(t xtables.Table, k ruleKey) xtables.Entry { return t.Chains[k.chain].Entries[k.rule] }

// ipt4Multi is what a print function of DNAT revision 0 makes of a payload: as many ranges as the first word counts.
type multiReading struct {
	ranges []multiElement
	count  uint32
}

type multiElement struct {
	xt.NATFields
	portsKnown bool // the bytes of the ports are known
	past       bool // at least one byte lies behind the rule's own
}

// readAsMulti reads payload as struct nf_nat_ipv4_multi_range_compat, with the bytes behind it. It stops at the first
// range whose flags or addresses cannot be told.
func readAsMulti(payload, behind []byte) multiReading {
	r := multiReading{count: order.Uint32(payload)}
	all := append(slices.Clip(payload), behind...)
	for i := uint32(0); i < r.count; i++ {
		at := 4 + int(i)*xt.MultiRangeSize
		if at >= len(payload) || at+12 > len(all) {
			break
		}
		var b [xt.MultiRangeSize]byte
		n := copy(b[:], all[at:])
		r.ranges = append(r.ranges, multiElement{
			NATFields: xt.ReadMultiRange(b[:]), portsKnown: n == xt.MultiRangeSize, past: at+xt.MultiRangeSize > len(payload),
		})
	}
	return r
}

// misreads reports whether a version prints the bytes of a DNAT revision 2 as those of revision 0.
func misreadsDNAT(f nat.Family, e xtables.Extension, read uint8) bool {
	return f == nat.IPv4 && e.Name == "DNAT" && e.Revision == 2 && read == 0
}
