package xt

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// Reject is -j REJECT (ipt_REJECT.c, ip6t_REJECT.c).
type Reject struct{ With string } // "icmp-port-unreachable", "tcp-reset", ...

// rejectKind is an answer with its two names; a zero one is none.
type rejectKind struct{ name, short string }

// rejectKinds are the answers by their numbers (enum ipt_reject_with, enum ip6t_reject_with).
var rejectKinds = [...][]rejectKind{
	nat.IPv4: {
		{"icmp-net-unreachable", "net-unreach"},
		{"icmp-host-unreachable", "host-unreach"},
		{"icmp-proto-unreachable", "proto-unreach"},
		{"icmp-port-unreachable", "port-unreach"},
		{}, // an echo reply, long ago
		{"icmp-net-prohibited", "net-prohib"},
		{"icmp-host-prohibited", "host-prohib"},
		{tcpReset, "tcp-rst"},
		{"icmp-admin-prohibited", "admin-prohib"},
	},
	nat.IPv6: {
		{"icmp6-no-route", "no-route"},
		{"icmp6-adm-prohibited", "adm-prohibited"},
		{}, // not a neighbour
		{"icmp6-addr-unreachable", "addr-unreach"},
		{"icmp6-port-unreachable", "port-unreach"},
		{}, // an echo reply
		{tcpReset, tcpReset},
		{"icmp6-policy-fail", "policy-fail"},
		{"icmp6-reject-route", "reject-route"},
	},
}

const tcpReset = "tcp-reset"

var (
	rejectRow  = rejectTarget(nat.IPv4, "icmp-port-unreachable", "--reject-with icmp-net-unreachable", "--reject-with icmp-admin-prohibited")
	reject6Row = rejectTarget(nat.IPv6, "icmp6-port-unreachable", "--reject-with icmp6-no-route", "--reject-with icmp6-reject-route")
)

func rejectTarget(f nat.Family, otherwise string, examples ...string) Extension {
	families := [...]Families{nat.IPv4: IPv4Only, nat.IPv6: IPv6Only}[f]
	return Extension{
		Name: "REJECT", Kind: TargetKind, Families: families, Tables: []string{"filter"}, Needs: "-p tcp",
		Options: []Option{{Name: "--reject-with", Values: 1}}, Examples: append(examples, "--reject-with "+tcpReset),
		Parse: func(a *Args) Value {
			t := Reject{otherwise}
			a.Once()
			for g := range a.Options {
				t.With = g.rejection(f)
			}
			if t.With == tcpReset && a.Protocol != nat.TCP {
				a.Fail("--reject-with tcp-reset needs -p tcp")
			}
			return t
		},
		// struct ipt_reject_info, struct ip6t_reject_info { __u32 with; }
		Layouts: layouts(layout(0, 4,
			func(d []byte, _ *Env) (Reject, bool) {
				with := order.Uint32(d)
				if with >= uint32(len(rejectKinds[f])) || rejectKinds[f][with].name == "" {
					return Reject{}, false
				}
				return Reject{rejectKinds[f][with].name}, true
			},
			func(t Reject, d []byte, _ *Env) error {
				i := slices.IndexFunc(rejectKinds[f], func(k rejectKind) bool { return k.name == t.With })
				order.PutUint32(d, uint32(max(i, 0)))
				return nil
			})),
		Listed: func(l *Listing) bool { return l.Value("reject-with ", "--reject-with", false) },
	}
}

// rejection is the first value as an answer's name, or the beginning of one: the first that begins so.
func (g *Given) rejection(f nat.Family) string {
	var names []string
	for _, k := range rejectKinds[f] {
		for _, name := range []string{k.name, k.short} {
			if len(name) >= len(g.Text()) && name != "" && strings.EqualFold(name[:len(g.Text())], g.Text()) {
				return k.name
			}
		}
		if k.name != "" {
			names = append(names, k.name)
		}
	}
	g.bad(0, "one of "+strings.Join(names, ", "))
	return ""
}

// Name is "REJECT".
func (Reject) Name() string { return "REJECT" }

// Save prints the answer.
func (t Reject) Save(p *Printer) { p.Option(false, "--reject-with", t.With) }

// List prints the answer as iptables -L does.
func (t Reject) List(p *Printer) { p.Text(" reject-with ", t.With) }

// Act drops the packet and answers it.
func (t Reject) Act(*rules.Visit) rules.Action {
	return rules.Action{Verdict: nat.Reject, Effect: &rules.Rejection{With: t.With}}
}
