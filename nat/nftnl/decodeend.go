package nftnl

import (
	"fmt"
	"strings"

	"natlab/nat/nftables"
)

func (r *ruleReader) compat(a *fields) error {
	r.say(nftables.Compat{Kind: r.lookAt, Name: a.text(1)})
	return nil
}

func (r *ruleReader) objref(a *fields) error {
	for name, number := range objectTypes {
		if number == a.u32(1) && a.has(2) {
			r.say(nftables.ObjectRef{Kind: name, Name: a.text(2)})
			return nil
		}
	}
	r.unread()
	return nil
}

func (r *ruleReader) reject(a *fields) error {
	kind, code := "icmpx", byte(0)
	if len(a[2]) > 0 {
		code = a[2][0]
	}
	switch family := r.table.Family; {
	case a.u32(1) == 1:
		if family != nftables.Inet { // nft leaves out what the reset needs there
			r.forget(&r.transportAt)
		}
		r.say(nftables.Reject{With: "tcp reset"})
		return nil
	case a.u32(1) == 2:
	case family == nftables.IP || family == nftables.Inet && r.network == 2:
		kind = "icmp"
	case family == nftables.IP6 || family == nftables.Inet && r.network == 10:
		kind = "icmpv6"
	default:
		r.unread()
		return nil
	}
	if kind != "icmpx" {
		r.depends(map[string]string{"icmp": "ip", "icmpv6": "ip6"}[kind])
	}
	with := kind + " " + nftables.Value(rejections[kind].codes, uint64(code)).String()
	plain := map[nftables.Family]string{nftables.IP: "icmp port-unreachable", nftables.IP6: "icmpv6 port-unreachable", nftables.Inet: "icmpx port-unreachable"}
	if with == plain[r.table.Family] {
		with = ""
	}
	r.say(nftables.Reject{With: with})
	return nil
}

func (r *ruleReader) queue(a *fields) error {
	short := func(b []byte) uint16 {
		if len(b) < 2 {
			return 0
		}
		return uint16(b[0])<<8 | uint16(b[1])
	}
	if a.has(4) {
		r.unread()
		return nil
	}
	flags := short(a[3])
	r.say(nftables.Queue{First: short(a[1]), Last: short(a[1]) + max(short(a[2]), 1) - 1, Bypass: flags&1 != 0, Fanout: flags&2 != 0})
	return nil
}

var logLevels = []string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"}

func (r *ruleReader) log(a *fields) error {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	short := func(b []byte) int { return int(b[0])<<8 | int(b[1]) }
	if a.has(2) {
		add("prefix %q", a.text(2))
	}
	if len(a[1]) == 2 {
		add("group %d", short(a[1]))
	}
	if a.u32(3) != 0 {
		add("snaplen %d", a.u32(3))
	}
	if len(a[4]) == 2 && short(a[4]) != 0 {
		add("queue-threshold %d", short(a[4]))
	}
	if level := a.u32(5); a.has(5) && level != 4 && int(level) < len(logLevels) {
		add("level %s", logLevels[level])
	}
	switch flags := a.u32(6); flags {
	case 0:
	case 0x2f:
		add("flags all")
	default:
		for i, name := range []string{"tcp sequence", "tcp options", "ip options", "skuid", "", "ether"} {
			if flags&(1<<i) != 0 && name != "" {
				add("flags %s", name)
			}
		}
	}
	r.say(nftables.Log{Options: strings.Join(out, " ")})
	return nil
}

func (r *ruleReader) hash(a *fields) error {
	h := nftables.Hash{Mod: a.u32(4), Offset: a.u32(6)}
	if a.u32(7) == 0 { // jhash
		h.Of = r.key(a.u32(1), int(a.u32(3)))
		if a.has(5) {
			h.Seed = fmt.Sprintf("0x%x", a.u32(5))
		}
	}
	r.put(a.u32(2), cell{x: h, value: value{4, true, nftables.Integer}})
	return nil
}
