package xtables

import (
	"net/netip"
	"strconv"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// Ruleset is what the tables hold as rules of nat/iptables, with their counters. An extension whose bytes hold what no
// option prints is kept as these: "-m NAME --raw REVISION:HEX". sets names the ipsets by number and may be nil.
func Ruleset(family nat.Family, sets map[uint16]string, tables ...Table) iptables.Ruleset {
	rs := iptables.Ruleset{Family: family}
	env := &xt.Env{Family: family, SetNames: sets}
	for _, t := range tables {
		out := iptables.Table{Name: t.Name}
		for _, c := range t.Chains {
			chain := iptables.Chain{Name: c.Name, Policy: c.Policy()}
			chain.Packets, chain.Bytes = c.Counters()
			for _, e := range c.Entries {
				chain.Rules = append(chain.Rules, e.rule(env))
			}
			out.Chains = append(out.Chains, chain)
		}
		rs.Tables = append(rs.Tables, out)
	}
	return rs
}

// rule is an entry as a rule.
func (e Entry) rule(env *xt.Env) iptables.Rule {
	r := iptables.Rule{Matches: e.Header.Matches(env.Family), Packets: e.Packets, Bytes: e.Bytes}
	for _, m := range e.Matches {
		if v, ok := m.Value(xt.MatchKind, env); ok {
			r.Matches = append(r.Matches, v.(xt.Match))
		} else {
			r.Matches = append(r.Matches, xt.RawMatch{Extension: m.Name, Options: m.Raw()})
		}
	}
	switch {
	case e.Jump != "" && e.Header.Goto(env.Family):
		r.Target = xt.Goto{Chain: e.Jump}
	case e.Jump != "":
		r.Target = xt.Jump{Chain: e.Jump}
	case e.FallThrough:
	case e.Target.Name == standardTarget:
		r.Target = map[int32]xt.Target{
			VerdictAccept: xt.Accept{}, VerdictDrop: xt.Drop{}, VerdictReturn: xt.Return{}, VerdictQueue: xt.Queue{},
		}[e.Verdict()]
		if r.Target == nil {
			r.Target = xt.RawTarget{Extension: e.VerdictName()}
		}
	default:
		if v, ok := e.Target.Value(xt.TargetKind, env); ok {
			r.Target = v.(xt.Target)
		} else {
			r.Target = xt.RawTarget{Extension: e.Target.Name, Options: e.Target.Raw()}
		}
	}
	return r
}

// Value is an extension's options, by its own revision; ok is false where no option prints what its bytes hold.
func (e Extension) Value(kind xt.Kind, env *xt.Env) (xt.Value, bool) {
	_, l, ok := xt.Struct(e.Name, kind, env.Family, e.Revision)
	if !ok || len(e.Data) < xt.Padded(l.Size) {
		return nil, false
	}
	return l.Decode(e.Data[:l.Size], env)
}

// Matches are the conditions of the header, in the order in which iptables-save prints them.
func (h Header) Matches(f nat.Family) (out []xt.Match) {
	if m := addressMatch(h.Inv&InvSrc != 0, false, h.Src, h.SrcMask); m != nil {
		out = append(out, m)
	}
	if m := addressMatch(h.Inv&InvDst != 0, true, h.Dst, h.DstMask); m != nil {
		out = append(out, m)
	}
	if h.InMask[0] != 0 {
		out = append(out, iptables.InInterface{Not: h.Inv&InvIn != 0, Device: deviceName(h.In[:], h.InMask[:])})
	}
	if h.OutMask[0] != 0 {
		out = append(out, iptables.OutInterface{Not: h.Inv&InvOut != 0, Device: deviceName(h.Out[:], h.OutMask[:])})
	}
	if h.Proto != 0 {
		out = append(out, iptables.Protocol{Not: h.Inv&InvProto != 0, Protocol: protocolText(h.Proto)})
	}
	if f == nat.IPv4 && h.Flags&FlagFragment != 0 {
		out = append(out, iptables.Fragment{Not: h.Inv&InvFragment != 0})
	}
	return out
}

// addressMatch is -s or -d, nil for any address.
func addressMatch(not, destination bool, a, mask netip.Addr) xt.Match {
	if !not && a.IsUnspecified() && mask.IsUnspecified() {
		return nil
	}
	bits, prefix := xt.MaskBits(mask)
	switch {
	case !prefix:
		return iptables.MaskedAddress{Not: not, Destination: destination, Address: xt.AddrMask{Addr: a, Mask: mask}}
	case destination:
		return iptables.Destination{Not: not, Prefix: netip.PrefixFrom(a, bits)}
	}
	return iptables.Source{Not: not, Prefix: netip.PrefixFrom(a, bits)}
}

// protocolText is a protocol as -p takes it. The header's field has room for more than the 256 that there are.
func protocolText(n uint16) string {
	if n > 255 {
		return strconv.Itoa(int(n))
	}
	return nat.Proto(n).RuleName()
}
