package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/topology"
)

// native is the backend of findings in kube-proxy's nftables mode.
const native = "nftables"

// tables compares kube-proxy's table of nftables mode with the one that is there.
type tables struct {
	*auditor

	want, have nftables.Table
}

// inNFTablesMode audits a node whose kube-proxy runs in nftables mode.
func (a *auditor) inNFTablesMode() error {
	want, err := kubeproxy.Tables(a.node.Cluster, a.node.Name, a.node.Options)
	if err != nil {
		return fmt.Errorf("audit %s: %w", a.node.Name, err)
	}
	t := tables{auditor: a, want: want.Tables[0]}
	there := false
	if t.have, there = a.node.Native.Table(nftables.FamilyOf(a.node.Options.Family), kubeproxy.NFTTable); !there {
		f := t.finding(Missing, "none of kube-proxy's rules are there")
		f.Why, f.Issue = "no Service works from this node, nor through it", "kubernetes#136786"
		f.Remedy = "look whether kube-proxy runs on the node and in which mode, and what it logs: a transaction that nft refuses leaves nothing of it in place"
		a.found(f)
	} else {
		t.compare()
	}
	for _, h := range a.node.Held {
		a.leftovers(h)
		a.otherMode(h)
		a.marks(h)
		a.others(h)
		a.revisions(h)
	}
	a.nativeOthers()
	a.settings()
	a.conns()
	return nil
}

// otherMode finds that iptables mode translates packets, too.
func (a *auditor) otherMode(h Held) {
	table, _ := h.Rules.Table("nat")
	chain, _ := table.Chain("KUBE-SERVICES")
	if len(chain.Rules) == 0 {
		return
	}
	f := place{h.Backend, "nat", chain.Name}.finding(Extra, 0, fmt.Sprintf("kube-proxy's chain of iptables mode is there, with %s", count(len(chain.Rules), "rule")))
	f.Why = "kube-proxy runs in nftables mode and follows none of these rules' Services any more: what they translate goes to endpoints that may be gone"
	f.Issue, f.Remedy = "kubernetes#112604", "run kube-proxy --cleanup with the mode that is left, or reboot the node"
	a.found(f)
}

func (t *tables) finding(kind Kind, what string) Finding {
	return Finding{Kind: kind, Backend: native, Table: kubeproxy.NFTTable, What: what, Remedy: remedyResync}
}

func (t *tables) compare() {
	if slices.Contains(t.have.Flags, "dormant") {
		f := t.finding(Changed, "the table is dormant")
		f.Why = "no hook calls its chains: no Service works"
		t.found(f)
	}
	for i := range t.want.Sets {
		t.set(&t.want.Sets[i])
	}
	for i := range t.have.Sets {
		if _, wanted := t.want.Set(t.have.Sets[i].Name); !wanted {
			t.extraSet(&t.have.Sets[i])
		}
	}
	for i := range t.want.Chains {
		t.chain(&t.want.Chains[i])
	}
	for i := range t.have.Chains {
		if c := &t.have.Chains[i]; len(c.Rules) > 0 || c.Base != nil { // emptied ones are deleted in a later sync
			t.extraChain(c)
		}
	}
}

func (t *tables) extraChain(c *nftables.Chain) {
	if _, wanted := t.want.Chain(c.Name); wanted {
		return
	}
	f := t.finding(Extra, fmt.Sprintf("kube-proxy would not make chain %s, with %s", c.Name, count(len(c.Rules), "rule")))
	f.Chain, f.Why, f.Issue = c.Name, "what still leads to it serves an endpoint or Service that is gone", "kubernetes#112604"
	if c.Base != nil {
		f.Why, f.Issue = "a hook calls it for every packet, in kube-proxy's name", ""
	}
	t.found(f)
}

func (t *tables) extraSet(s *nftables.Set) {
	f := t.finding(Extra, fmt.Sprintf("kube-proxy would not make %s, with %s", kindOf(s), count(len(s.Elements), "element")))
	f.Set, f.Why = s.Name, "a rule that still asks it is of a Service or endpoint that is gone"
	t.found(f)
}

func kindOf(s *nftables.Set) string {
	if s.Map {
		return "map " + s.Name
	}
	return "set " + s.Name
}

// set compares a set that is wanted, or a map, with the one of its name.
func (t *tables) set(want *nftables.Set) {
	have, there := t.have.Set(want.Name)
	if !there {
		f := t.finding(Missing, fmt.Sprintf("%s is missing, with %s", kindOf(want), count(len(want.Elements), "element")))
		f.Set = want.Name
		f.Why, f.Issue = nativeEffect(want.Name)
		t.found(f)
		return
	}
	if want.Timeout != have.Timeout {
		f := t.finding(Changed, fmt.Sprintf("elements of %s live for %s, and should for %s", kindOf(want), have.Timeout, want.Timeout))
		f.Set, f.Why = want.Name, "clients stay with their endpoint for another time than sessionAffinityConfig has"
		t.found(f)
	}
	wanted, held := byKey(t.want.Listed(want)), byKey(t.have.Listed(have))
	for _, key := range wanted.keys {
		t.element(want, key, wanted.value[key], held)
	}
	for _, key := range held.keys {
		if _, is := wanted.value[key]; !is {
			t.extraElement(want, key, held.value[key])
		}
	}
}

// element compares one element that is wanted.
func (t *tables) element(in *nftables.Set, key, value string, held listed) {
	is, there := held.value[key]
	if there && is == value {
		return
	}
	f := t.finding(Missing, "the element is missing: "+key+value)
	f.Set = in.Name
	f.Why, f.Issue = nativeEffect(in.Name)
	if there {
		f.Kind, f.What = Changed, fmt.Sprintf("the element is %q, and should be %q", key+is, key+value)
		f.Why, f.Issue = "what asks for it is led elsewhere: to another Service's endpoints, or to nobody", ""
	}
	t.found(f)
}

func (t *tables) extraElement(in *nftables.Set, key, value string) {
	f := t.finding(Extra, "kube-proxy would not write this element: "+key+value)
	f.Set = in.Name
	f.Why, f.Issue = "it acts on packets of Services in kube-proxy's name", "kubernetes#112604"
	if in.Name == "no-endpoint-services" || in.Name == "no-endpoint-nodeports" {
		f.Kind, f.Why, f.Issue = StaleReject, "clients of a Service that has endpoints are refused, as far as their packets are not translated before", "kubernetes#102314"
	}
	t.found(f)
}

// listed are a set's elements by their keys: of a map what is behind the key is its value, " : goto CHAIN".
type listed struct {
	keys  []string // sorted
	value map[string]string
}

func byKey(elements []string) listed {
	out := listed{value: map[string]string{}}
	for _, e := range elements {
		key, value := e, ""
		if i := strings.Index(e, " : "); i >= 0 {
			key, value = e[:i], e[i:]
		}
		out.keys, out.value[key] = append(out.keys, key), value
	}
	return out
}

// chain compares a chain that is wanted with the one of its name.
func (t *tables) chain(want *nftables.Chain) {
	have, there := t.have.Chain(want.Name)
	if !there && len(want.Rules) == 0 && want.Base == nil {
		return
	}
	if !there {
		f := t.finding(Missing, fmt.Sprintf("chain %s is missing, with its %s", want.Name, count(len(want.Rules), "rule")))
		f.Chain = want.Name
		f.Why, f.Issue = nativeEffect(want.Name)
		t.found(f)
		return
	}
	if is, should := have.Called(t.have.Family), want.Called(t.want.Family); is != should {
		f := t.finding(Changed, fmt.Sprintf("chain %s is called as %q, and should be as %q", want.Name, is, should))
		f.Chain, f.Why = want.Name, "packets meet it at another moment, with another verdict at its end, or not at all"
		t.found(f)
	}
	t.rules(want, &have)
}

// bared is a chain's rule as text, with its number from 1.
type bared struct {
	number int
	text   string
	rule   *nftables.Rule
}

func bare(rules []nftables.Rule) (out []bared) {
	for i := range rules {
		out = append(out, bared{i + 1, rules[i].Bare(), &rules[i]})
	}
	return out
}

// without are the rules of a that b has not, as often as a has them more.
func without(a, b []bared) (out []bared) {
	left := map[string]int{}
	for _, r := range b {
		left[r.text]++
	}
	for _, r := range a {
		if left[r.text]--; left[r.text] < 0 {
			out = append(out, r)
		}
	}
	return out
}

// rules compares the rules of one chain.
func (t *tables) rules(want, have *nftables.Chain) {
	wanted, held := bare(want.Rules), bare(have.Rules)
	missing, extra := without(wanted, held), without(held, wanted)
	for _, m := range missing {
		if i := slices.IndexFunc(extra, func(e bared) bool { return alike(m, e) }); i >= 0 {
			t.changedRule(want.Name, m, extra[i])
			extra = slices.Delete(extra, i, i+1)
			continue
		}
		f := t.finding(Missing, "the rule is missing: "+m.text)
		f.Chain, f.Rule = want.Name, m.number
		f.Why, f.Issue = nativeEffect(want.Name)
		t.found(f)
	}
	for _, e := range extra {
		f := t.finding(Extra, "kube-proxy would not write this rule: "+e.text)
		f.Chain, f.Rule, f.Why, f.Issue = want.Name, e.number, "it acts on packets of Services in kube-proxy's name", "kubernetes#112604"
		t.found(f)
	}
	wanted, held = without(wanted, missing), without(held, without(held, wanted))
	for i := range min(len(wanted), len(held)) {
		if wanted[i].text != held[i].text {
			f := t.finding(OutOfOrder, fmt.Sprintf("here stands %q, where %q should", held[i].text, wanted[i].text))
			f.Chain, f.Rule, f.Why = want.Name, held[i].number, "rules are walked in order: the later one is not reached by what the earlier one takes"
			t.found(f)
			return
		}
	}
}

// alike reports whether a rule stands for a missing one: both translate, or it is in the other's place and both begin alike.
func alike(m, e bared) bool {
	if len(m.rule.Endpoints()) > 0 && len(e.rule.Endpoints()) > 0 {
		return true
	}
	first, _, _ := strings.Cut(m.text, " ")
	return e.number == m.number && strings.HasPrefix(e.text+" ", first+" ")
}

func (t *tables) changedRule(chain string, want, have bared) {
	f := t.finding(Changed, fmt.Sprintf("the rule is %q, and should be %q", have.text, want.text))
	f.Chain, f.Rule = chain, have.number
	f.Why, f.Issue = nativeEffect(chain)
	should, does := want.rule.Endpoints(), have.rule.Endpoints()
	var parts []string
	if gone := beyond(does, should); len(gone) > 0 {
		parts = append(parts, "packets are sent to what is no endpoint that can serve: "+strings.Join(gone, ", "))
	}
	if left := beyond(should, does); len(left) > 0 {
		parts = append(parts, "never chosen: "+strings.Join(left, ", "))
	}
	if len(should) > 0 && len(does) > 0 {
		f.Why, f.Issue = "the endpoints have other shares than each the same", ""
	}
	if len(parts) > 0 {
		f.Why, f.Issue = strings.Join(parts, "; "), "kubernetes#112604"
	}
	t.found(f)
}

// beyond are the endpoints of a that b has not.
func beyond(a, b []netip.AddrPort) (out []string) {
	for _, e := range a {
		if !slices.Contains(b, e) && !slices.Contains(out, e.String()) {
			out = append(out, e.String())
		}
	}
	return out
}

// nativeEffects is what the loss of an element, a rule or the whole of a set or chain does, by how its name begins. The first that fits is
// taken.
var nativeEffects = []struct{ name, why, issue string }{
	{"service-ips", "the Service's address is not translated: packets leave by the default route, or are rejected as of a port that no Service has", "kubernetes#112604"},
	{"service-nodeports", "the node port is not served on this node", "kubernetes#111682"},
	{"no-endpoint-", "clients of a Service without endpoints wait for a timeout instead of being refused at once", "kubernetes#31435"},
	{"service-endpoints-check", "clients of a Service without endpoints wait for a timeout instead of being refused at once", "kubernetes#31435"},
	{"nodeport-endpoints-check", "clients of a node port without endpoints wait for a timeout, or reach the node itself", "kubernetes#97360"},
	{"reject-chain", "clients of a Service without endpoints wait for a timeout instead of being refused at once", "kubernetes#31435"},
	{"firewall", "clients outside of loadBalancerSourceRanges are let in", "kubernetes#122614"},
	{"filter-prerouting", "clients outside of loadBalancerSourceRanges are let in", "kubernetes#122614"},
	{"cluster-ips", "what comes from outside of the pods is not masqueraded, and other ports of the cluster IP are not rejected", "kubernetes#44916"},
	{"nodeport-ips", "node ports are not served at this address of the node", "kubernetes#111682"},
	{"hairpin-connections", "the pod cannot reach itself through its Service: its own packet comes back to it from its own address", "kubernetes#20475"},
	{"affinity-", "clients do not stay with their endpoint", ""},
	{"mark-for-masquerade", "nothing is marked for masquerade: the pod answers the client directly, and the client drops an answer from an address it did not ask", "kubernetes#32415"},
	{"masquerading", "packets keep their source: the pod answers the client directly, and the client drops an answer from an address it did not ask", "kubernetes#20391"},
	{"nat-postrouting", "nothing is masqueraded", "kubernetes#20391"},
	{"nat-", "no Service address is translated for the packets of this hook", "kubernetes#81517"},
	{"services", "no Service address is translated, or what comes from outside is not masqueraded", "kubernetes#81517"},
	{"service-", "an endpoint is never chosen, or more often than its share", "kubernetes#121362"},
	{"local-", "a local endpoint is never chosen, or more often than its share", "kubernetes#121362"},
	{"external-", "packets from outside do not reach the Service, or are not masqueraded as they must be", "kubernetes#108526"},
	{"endpoint-", "the endpoint's packets are not translated: they go on to the Service's own address and are lost", "kubernetes#114537"},
	{"filter-", "what kube-proxy refuses at this hook is not refused", "kubernetes#81517"},
}

func nativeEffect(name string) (why, issue string) {
	for _, e := range nativeEffects {
		if strings.HasPrefix(name, e.name) {
			return e.why, e.issue
		}
	}
	return "packets of Services go another way than kube-proxy has them go", ""
}

// inNFTablesMode reports whether a node's kube-proxy runs in nftables mode by what it holds, where the input does not tell: it has kube-proxy's
// table, and no chain of iptables mode that serves.
func (n *Node) inNFTablesMode() bool {
	isTable := func(t nftables.Table) bool { return t.Name == kubeproxy.NFTTable && len(t.Chains) > 0 }
	serves := func(h Held) bool {
		t, _ := h.Rules.Table("nat")
		c, _ := t.Chain("KUBE-SERVICES")
		return len(c.Rules) > 0
	}
	return !n.Cluster.KubeProxy.Configured && n.Cluster.KubeProxy.Mode == "" && slices.ContainsFunc(n.Native.Tables, isTable) && !slices.ContainsFunc(n.Held, serves)
}

// inferMode takes nftables mode over from what a node holds, with the networks of pods that its rules have; "" where it does not.
func (n *Node) inferMode() string {
	if !n.inNFTablesMode() {
		return ""
	}
	n.Cluster.KubeProxy.Mode = topology.ModeNFTables
	out := fmt.Sprintf("the input has no KubeProxyConfiguration: by the table of %s kube-proxy is in nftables mode", n.Name)
	t, _ := n.Native.Table(nftables.FamilyOf(n.Options.Family), kubeproxy.NFTTable)
	if p, is := podsOf(&t); is {
		d := detection{cidr: p}
		n.Cluster.KubeProxy = d.configure(n.Cluster.KubeProxy)
		out += ", with " + d.String()
	}
	return out
}

// podsOf is the network whose clients are not masqueraded, by the first rule that masquerades the others.
func podsOf(t *nftables.Table) (pods netip.Prefix, is bool) {
	for i := range t.Chains {
		c := &t.Chains[i]
		for k := range c.Rules {
			to, after, is := strings.Cut(c.Rules[k].Bare(), " "+string(t.Family)+" saddr != ")
			word, _, _ := strings.Cut(after, " ")
			p, err := netip.ParsePrefix(word)
			if is && err == nil && strings.HasPrefix(c.Name, "service") && strings.HasPrefix(to, string(t.Family)+" daddr ") {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}
