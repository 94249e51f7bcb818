package xtables

import "strings"

// setMatches are xt_set from revision 1 on: struct xt_set_info { __u16 index; __u8 dim, flags; }, and behind it from
// revision 3 on two counter conditions and flags, of which natlab says none. The kernel keeps a set by its number,
// so the names must be handed in.
func setMatches() []codec {
	var out []codec
	for _, l := range []struct {
		revision uint8
		size     int
	}{{4, 44}, {3, 44}, {2, 4}, {1, 4}} {
		out = append(out, codec{name: "set", revision: l.revision, size: l.size, save: saveSet, list: listSet, parse: parseSet})
	}
	return out
}

// Bits of xt_set_info.flags.
const (
	setInvert    = 1 << 0 // IPSET_INV_MATCH
	setFirstDim  = 1 << 1 // IPSET_DIM_ONE_SRC; the others follow
	setMaxDim    = 6      // IPSET_DIM_MAX
	setNoMatch   = 1 << 7 // IPSET_RETURN_NOMATCH
	setBytesSaid = 4      // what the options can say
)

// setOf is the set's name and its dimensions; the bytes go unsaid where either cannot be told.
func setOf(p *printer, d []byte) (name, dims string) {
	name, ok := p.sets[order.Uint16(d)]
	if !ok || d[2] == 0 || d[2] > setMaxDim {
		p.unsaid = true
	}
	for _, b := range d[setBytesSaid:] {
		if b != 0 {
			p.unsaid = true
		}
	}
	var list []string
	for i := range min(int(d[2]), setMaxDim) {
		if d[3]&(setFirstDim<<i) != 0 {
			list = append(list, "src")
		} else {
			list = append(list, "dst")
		}
	}
	return name, strings.Join(list, ",")
}

func saveSet(p *printer, d []byte) {
	name, dims := setOf(p, d)
	p.not(d[3]&setInvert != 0)
	p.f(" --match-set %s %s", name, dims)
	p.flag(d[3]&setNoMatch != 0 && d[2] < setMaxDim, "--return-nomatch")
}

func listSet(p *printer, d []byte) {
	name, dims := setOf(p, d)
	p.not(d[3]&setInvert != 0)
	p.f(" match-set %s %s", name, dims)
	p.flag(d[3]&setNoMatch != 0 && d[2] < setMaxDim, "return-nomatch")
}

func parseSet(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch o {
		case "--match-set":
			if a.not {
				d[3] |= setInvert
			}
			name := a.value()
			index, ok := a.sets[name]
			if !ok {
				a.fail("set %q is not there", name)
				return
			}
			order.PutUint16(d, index)
			for dim := range strings.SplitSeq(a.value(), ",") {
				if dim != "src" && dim != "dst" || d[2] == setMaxDim {
					a.fail("--match-set %s: want up to %d of src and dst", name, setMaxDim)
					return
				}
				if dim == "src" {
					d[3] |= setFirstDim << d[2]
				}
				d[2]++
			}
		case "--return-nomatch":
			d[3] |= setNoMatch
		default:
			a.unknown(o)
		}
	}
}
