package realise

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/topology"
)

// What this kernel cannot make of a dumped node is passed over and noted: nobody could do otherwise.

// lacks notes what could not be made of a dumped node. Of any other an error stays one.
func (b *builder) lacks(what string, err error) error {
	if err == nil || !b.plan.Dumped {
		return err
	}
	b.notes = append(b.notes, fmt.Sprintf("%s: %s cannot be made here: %v", b.plan.Title(), what, err))
	return nil
}

// tableID is a table's number; only those that a Plan names are asked for.
func tableID(name string) (int, error) {
	switch name {
	case "":
		return unix.RT_TABLE_MAIN, nil
	case "default":
		return unix.RT_TABLE_DEFAULT, nil
	case "local":
		return unix.RT_TABLE_LOCAL, nil
	}
	n, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("table %q: want a number", name)
	}
	return int(n), nil
}

// tableName is a table as topology has it.
func tableName(id int) string {
	switch id {
	case unix.RT_TABLE_MAIN:
		return ""
	case unix.RT_TABLE_DEFAULT:
		return "default"
	case unix.RT_TABLE_LOCAL:
		return "local"
	}
	return strconv.Itoa(id)
}

// rules gives a dumped node its rules of routing in place of those that every namespace is born with.
func (b *builder) rules() error {
	if len(b.plan.Rules) == 0 {
		return nil
	}
	for _, six := range []bool{false, true} {
		all := slices.DeleteFunc(slices.Clone(b.plan.Rules), func(r topology.RoutingRule) bool { return r.Six != six })
		if len(all) == 0 {
			continue
		}
		if err := b.rulesOf(all, ruleFamily(six)); err != nil {
			return err
		}
	}
	return nil
}

func ruleFamily(six bool) int {
	if six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// rulesOf are those of one family.
func (b *builder) rulesOf(all []topology.RoutingRule, family int) error {
	born, err := b.nl.RuleList(family)
	if err != nil {
		return fmt.Errorf("list rules of routing: %w", err)
	}
	var wanted []netlink.Rule
	for _, r := range all {
		rule, err := ruleOf(r)
		if err != nil {
			if err := b.lacks(fmt.Sprintf("rule of routing %d", r.Priority), err); err != nil {
				return err
			}
			continue
		}
		wanted = append(wanted, rule)
		if slices.ContainsFunc(born, func(o netlink.Rule) bool { return sameRule(o, rule) }) {
			continue
		}
		if err := b.lacks(fmt.Sprintf("rule of routing %d", r.Priority), b.nl.RuleAdd(&rule)); err != nil {
			return fmt.Errorf("rule of routing %d: %w", r.Priority, err)
		}
	}
	for i := range born {
		if !slices.ContainsFunc(wanted, func(o netlink.Rule) bool { return sameRule(o, born[i]) }) {
			if err := b.nl.RuleDel(&born[i]); err != nil {
				return fmt.Errorf("rule of routing %d, which the node has not: %w", born[i].Priority, err)
			}
		}
	}
	return nil
}

// ruleOf is a rule of routing as rtnetlink takes it.
func ruleOf(r topology.RoutingRule) (netlink.Rule, error) {
	out := *netlink.NewRule()
	out.Family, out.Priority, out.Invert = ruleFamily(r.Six), int(r.Priority), r.Not
	out.IifName, out.OifName, out.IPProto, out.SuppressPrefixlen = r.In, r.Out, int(r.Proto), r.Suppress
	if r.Open != "" {
		return out, fmt.Errorf("%s: %w", r.Open, errors.ErrUnsupported)
	}
	if r.From.IsValid() && r.From.Bits() > 0 {
		out.Src = ipNet(r.From.Masked())
	}
	if r.To.IsValid() && r.To.Bits() > 0 {
		out.Dst = ipNet(r.To.Masked())
	}
	if r.Mask != 0 {
		out.Mark, out.Mask = r.Mark, &r.Mask
	}
	if r.Sport != (topology.Ports{}) {
		out.Sport = netlink.NewRulePortRange(r.Sport.First, r.Sport.Last)
	}
	if r.Dport != (topology.Ports{}) {
		out.Dport = netlink.NewRulePortRange(r.Dport.First, r.Dport.Last)
	}
	if r.UID != nil {
		out.UIDRange = netlink.NewRuleUIDRange(r.UID[0], r.UID[1])
	}
	var err error
	switch r.Action {
	case topology.RouteByTable:
		out.Table, err = tableID(r.Table)
	case topology.RouteByGoto:
		out.Goto = int(r.Goto)
	case topology.RouteByNothing:
		out.Type = 3 // FR_ACT_NOP, fib_rules.h
	case topology.RouteToBlackhole:
		out.Type = unix.RTN_BLACKHOLE
	case topology.RouteToUnreachable:
		out.Type = unix.RTN_UNREACHABLE
	case topology.RouteToProhibit:
		out.Type = unix.RTN_PROHIBIT
	}
	return out, err
}

// sameRule reports whether two rules of routing ask and do the same, as far as a list of them tells: not what one without a table does.
func sameRule(a, b netlink.Rule) bool {
	mask := func(r netlink.Rule) uint32 {
		if r.Mask == nil {
			return 0
		}
		return *r.Mask
	}
	ports := func(p *netlink.RulePortRange) netlink.RulePortRange {
		if p == nil {
			return netlink.RulePortRange{}
		}
		return *p
	}
	uid := func(r netlink.Rule) netlink.RuleUIDRange {
		if r.UIDRange == nil {
			return netlink.RuleUIDRange{Start: 0, End: ^uint32(0)}
		}
		return *r.UIDRange
	}
	from, to := a.Src.String() == b.Src.String(), a.Dst.String() == b.Dst.String()
	return from && to && a.Priority == b.Priority && a.Table == b.Table && a.Invert == b.Invert && a.IifName == b.IifName && a.OifName == b.OifName &&
		a.Mark == b.Mark && mask(a) == mask(b) && max(a.Goto, 0) == max(b.Goto, 0) && a.SuppressPrefixlen == b.SuppressPrefixlen &&
		a.IPProto == b.IPProto && ports(a.Sport) == ports(b.Sport) && ports(a.Dport) == ports(b.Dport) && uid(a) == uid(b)
}

// heldRules are the rules of routing of a dumped node that are there. What else is there, or is not, is noted.
func (r *reader) heldRules() ([]topology.RoutingRule, error) {
	var out []topology.RoutingRule
	for _, six := range []bool{false, true} {
		planned := slices.DeleteFunc(slices.Clone(r.plan.Rules), func(o topology.RoutingRule) bool { return o.Six != six })
		if len(planned) == 0 {
			continue
		}
		held, err := r.heldRulesOf(planned, ruleFamily(six))
		if err != nil {
			return nil, err
		}
		out = append(out, held...)
	}
	return out, nil
}

func (r *reader) heldRulesOf(rules []topology.RoutingRule, family int) ([]topology.RoutingRule, error) {
	all, err := r.nl.RuleList(family)
	if err != nil {
		return nil, fmt.Errorf("list rules of routing: %w", err)
	}
	var out []topology.RoutingRule
	for _, planned := range rules {
		want, err := ruleOf(planned)
		i := slices.IndexFunc(all, func(o netlink.Rule) bool { return err == nil && sameRule(o, want) })
		if i < 0 {
			r.other = append(r.other, fmt.Sprintf("rule of routing %d is gone", planned.Priority))
			continue
		}
		all = slices.Delete(all, i, i+1)
		out = append(out, planned)
	}
	for _, x := range all {
		r.other = append(r.other, "rule of routing: "+x.String())
	}
	return out, nil
}

// port finishes a bridge's port.
func (b *builder) port(link netlink.Link, d topology.Device) error {
	if d.Hairpin == topology.SwitchOpen {
		return nil
	}
	return b.nl.LinkSetHairpin(link, d.Hairpin == topology.SwitchOn)
}

// hairpins reads which ports of the Plan's bridges are in hairpin mode, where the Plan tells of it.
func (r *reader) hairpins(devices []topology.Device, links []netlink.Link) error {
	for i := range devices {
		d := &devices[i]
		at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == d.Name })
		if d.Hairpin == topology.SwitchOpen || at < 0 {
			continue
		}
		mode, err := r.nl.LinkGetProtinfo(links[at])
		if err != nil {
			return fmt.Errorf("device %s: hairpin mode: %w", d.Name, err)
		}
		if d.Hairpin = topology.SwitchOff; mode.Hairpin {
			d.Hairpin = topology.SwitchOn
		}
	}
	return nil
}
