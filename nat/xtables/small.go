package xtables

import (
	"strconv"
	"strings"
)

// smallExtensions say one thing each.
func smallExtensions() []codec {
	return []codec{
		{name: "CLASSIFY", target: true, size: 4, save: saveClassify, list: listClassify, parse: parseClassify},
	}
}

// struct xt_classify_target_info { __u32 priority; }: two halves
func saveClassify(p *printer, d []byte) {
	n := order.Uint32(d)
	p.f(" --set-class %04x:%04x", n>>16, n&0xffff)
}

func listClassify(p *printer, d []byte) {
	n := order.Uint32(d)
	p.f(" CLASSIFY set %x:%x", n>>16, n&0xffff)
}

func parseClassify(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		if o != "--set-class" {
			a.unknown(o)
			return
		}
		s := a.value()
		hi, lo, _ := strings.Cut(s, ":")
		h, err1 := strconv.ParseUint(hi, 16, 16)
		l, err2 := strconv.ParseUint(lo, 16, 16)
		if err1 != nil || err2 != nil {
			a.fail("--set-class %q", s)
		}
		order.PutUint32(d, uint32(h<<16|l))
	}
}
