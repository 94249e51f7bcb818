package audit

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// unordered are the chains whose rules kube-proxy writes in no particular order.
var unordered = map[string]bool{
	"KUBE-SERVICES": true, "KUBE-NODEPORTS": true, "KUBE-EXTERNAL-SERVICES": true, "KUBE-PROXY-FIREWALL": true,
}

// compare finds how the backend's rules differ from kube-proxy's.
func (a *auditor) compare(own Held) {
	if own.Err != nil {
		return
	}
	if own.kube() == 0 {
		a.found(Finding{
			Kind: Missing, Backend: own.Backend, What: "none of kube-proxy's rules are there",
			Why:    "no Service works from this node, nor through it",
			Issue:  "kubernetes#112604",
			Remedy: "look whether kube-proxy runs on the node and what it logs: a restore that is refused leaves nothing of it in place",
		})
		return
	}
	for _, t := range a.intent.Tables {
		held, ok := own.Rules.Table(t.Name)
		if !ok {
			held = iptables.Table{Name: t.Name}
		}
		there := held.ByName()
		for _, c := range t.Chains {
			a.chain(place{own.Backend, t.Name, c.Name}, c, there[c.Name])
		}
		a.extraChains(own.Backend, t, held)
	}
}

// place is where a rule is.
type place struct{ backend, table, chain string }

func (p place) finding(kind Kind, rule int, what string) Finding {
	return Finding{Kind: kind, Backend: p.backend, Table: p.table, Chain: p.chain, Rule: rule, What: what}
}

// ruled is a rule with its number in the kernel's chain, or in kube-proxy's.
type ruled struct {
	iptables.Rule
	number int
	key    string // its text without comments
}

func number(rules []iptables.Rule, keep func(iptables.Rule) bool) []ruled {
	var out []ruled
	for i, r := range rules {
		if keep(r) {
			out = append(out, ruled{r, i + 1, key(r)})
		}
	}
	return out
}

// key is a rule's text without its comments, which do nothing to packets.
func key(r iptables.Rule) string {
	matches := make([]xt.Match, 0, len(r.Matches))
	for _, m := range r.Matches {
		if _, comment := m.(xt.Comment); !comment {
			matches = append(matches, m)
		}
	}
	return iptables.Rule{Matches: matches, Target: r.Target}.Spec()
}

// chain compares one chain with the one that is there; nil: none is.
func (a *auditor) chain(p place, want iptables.Chain, have *iptables.Chain) {
	switch {
	case have == nil && want.BuiltIn() && len(want.Rules) == 0:
		return
	case have == nil && strings.HasSuffix(want.Name, "-CANARY"):
		f := p.finding(Canary, 0, fmt.Sprintf("chain %s is gone", want.Name))
		f.Why = "someone emptied this table or backend; kube-proxy looks for the chain once in a while, and writes everything anew when it is gone"
		f.Issue = "kubernetes#81517"
		f.Remedy = "find out who flushes iptables (firewalld, a save that was restored); restart kube-proxy if its rules do not come back"
		a.found(f)
		return
	case have == nil:
		a.missingChain(p, want)
		return
	}
	if iptables.SameRules(want.Rules, have.Rules) {
		return
	}
	wanted := number(want.Rules, func(iptables.Rule) bool { return true })
	keep := func(iptables.Rule) bool { return true }
	if want.BuiltIn() {
		keep = func(r iptables.Rule) bool { return kubeRule(r, wanted) }
	}
	a.rules(p, wanted, number(have.Rules, keep))
}

// kubeRule reports whether a rule of a built-in chain is kube-proxy's: one it would write, or one that calls its chains.
func kubeRule(r iptables.Rule, wanted []ruled) bool {
	if r.Target != nil && kubeChain(r.Target.Name()) && !kubelets[r.Target.Name()] {
		return true
	}
	k := key(r)
	return slices.ContainsFunc(wanted, func(w ruled) bool { return w.key == k })
}

func (a *auditor) missingChain(p place, want iptables.Chain) {
	f := p.finding(Missing, 0, fmt.Sprintf("chain %s is missing", want.Name))
	if n := len(want.Rules); n > 0 {
		f.What += fmt.Sprintf(", with its %s", count(n, "rule"))
	}
	f.Why, f.Issue = effect(p, iptables.Rule{})
	if len(want.Rules) == 1 {
		f.Why, f.Issue = effect(p, want.Rules[0])
	}
	f.Remedy = remedyResync
	a.found(f)
}

func count(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// rules compares the rules of one chain.
func (a *auditor) rules(p place, want, have []ruled) {
	missing, extra, twice := subtract(want, have)
	for _, r := range twice {
		f := p.finding(Duplicate, r.number, "the rule is there more than once: "+r.Text(p.chain))
		f.Why, f.Issue = "it does nothing the second time but cost time; each sync may add another", "kubernetes#82361"
		if _, random := statistic(r.Rule); random {
			f.Why = "the first of them takes its share, and the second a share of what is left: the endpoints are not used alike"
		}
		f.Remedy = "iptables 1.8.1 and 1.8.2 cannot find a rule that is there: use 1.8.3 or later; then restart kube-proxy"
		a.found(f)
	}
	for _, m := range missing {
		if i := partner(m, extra); i >= 0 {
			a.changed(p, m, extra[i])
			extra = slices.Delete(extra, i, i+1)
			continue
		}
		f := p.finding(Missing, m.number, "the rule is missing: "+m.Text(p.chain))
		f.Why, f.Issue = effect(p, m.Rule)
		f.Remedy = remedyResync
		a.found(f)
	}
	for _, e := range extra {
		a.extra(p, e)
	}
	a.order(p, want, have)
}

func (a *auditor) changed(p place, want, have ruled) {
	f := p.finding(Changed, have.number, fmt.Sprintf("the rule is %q, and should be %q", have.Text(p.chain), want.Text(p.chain)))
	f.Why, f.Issue = effect(p, want.Rule)
	if d, ok := want.Target.(xt.DNAT); ok {
		f.Why = fmt.Sprintf("packets are not sent to %s but elsewhere", d.Range.MinAddr)
		f.Issue = "kubernetes#114537"
	}
	f.Remedy = remedyResync + "; rules saved by an iptables up to 1.6.0 must never be restored"
	a.found(f)
}

func (a *auditor) extra(p place, e ruled) {
	f := p.finding(Extra, e.number, "kube-proxy would not write this rule: "+e.Text(p.chain))
	f.Why, f.Issue = "it acts on packets of Services in kube-proxy's name", "kubernetes#112604"
	f.Remedy = "restart kube-proxy; if the rule stays, delete it by hand"
	if rejects(e.Rule) {
		a.staleReject(f, e.Rule)
		return
	}
	a.found(f)
}

// subtract is what want has over have, what have has over want, and what have has more often than want.
func subtract(want, have []ruled) (missing, extra, twice []ruled) {
	left := map[string]int{}
	for _, w := range want {
		left[w.key]++
	}
	known := map[string]bool{}
	for k := range left {
		known[k] = true
	}
	for _, h := range have {
		switch {
		case left[h.key] > 0:
			left[h.key]--
		case known[h.key]:
			twice = append(twice, h)
		default:
			extra = append(extra, h)
		}
	}
	for _, w := range want {
		if left[w.key] > 0 {
			left[w.key]--
			missing = append(missing, w)
		}
	}
	return missing, extra, twice
}

// partner is the rule that stands for a missing one: it asks the same and does something else, or does the same and asks
// something else, or stands in its place. -1 is none.
func partner(m ruled, extra []ruled) int {
	same := func(ok func(ruled) bool) int { return slices.IndexFunc(extra, ok) }
	asks := key(iptables.Rule{Matches: m.Matches})
	if asks != "" {
		if i := same(func(e ruled) bool { return key(iptables.Rule{Matches: e.Matches}) == asks }); i >= 0 {
			return i
		}
	}
	does := key(iptables.Rule{Target: m.Target})
	if i := same(func(e ruled) bool {
		return key(iptables.Rule{Target: e.Target}) == does && e.number == m.number
	}); i >= 0 {
		return i
	}
	return same(func(e ruled) bool {
		return e.number == m.number && e.Target != nil && m.Target != nil && e.Target.Name() == m.Target.Name()
	})
}

// order compares the order of the rules that both have.
func (a *auditor) order(p place, want, have []ruled) {
	w, h := common(want, have), common(have, want)
	if unordered[p.chain] {
		w, h = lastOnly(w), lastOnly(h)
		if len(w) == 0 || !strings.Contains(w[0].Text(p.chain), "must be the last rule") {
			return
		}
	}
	for i := range min(len(w), len(h)) {
		if w[i].key == h[i].key {
			continue
		}
		f := p.finding(OutOfOrder, h[i].number, fmt.Sprintf("here stands %q, where %q should", h[i].Text(p.chain), w[i].Text(p.chain)))
		f.Why = "rules are walked in order: the later one is not reached by what the earlier one takes"
		f.Issue = "kubernetes#109575"
		if strings.HasPrefix(p.chain, "KUBE-POSTROUTING") {
			f.Why, f.Issue = "the mark is tested, cleared and used in this order; in another, packets are masqueraded that must not be, or are not that must be", "kubernetes#92035"
		}
		f.Remedy = remedyResync
		a.found(f)
		return
	}
}

// common are the rules of a that b has too, as often as b has them.
func common(a, b []ruled) []ruled {
	left := map[string]int{}
	for _, r := range b {
		left[r.key]++
	}
	var out []ruled
	for _, r := range a {
		if left[r.key] > 0 {
			left[r.key]--
			out = append(out, r)
		}
	}
	return out
}

func lastOnly(r []ruled) []ruled { return r[max(len(r)-1, 0):] }

// extraChains are chains in kube-proxy's name that it would not make. In a cluster of more than 1,000 endpoints it keeps
// those that no rule calls any more until the first sync after iptables.syncPeriod: they are no fault.
func (a *auditor) extraChains(backend string, want, have iptables.Table) {
	var kept map[string]bool
	if a.sync.Large {
		kept = a.sync.StaleChains(have)
	}
	wanted := want.ByName()
	for _, c := range have.Chains {
		if kept[c.Name] {
			continue
		}
		if wanted[c.Name] != nil || !kubeChain(c.Name) || kubelets[c.Name] {
			continue
		}
		p := place{backend, have.Name, c.Name}
		f := p.finding(Extra, 0, fmt.Sprintf("kube-proxy would not make chain %s, with %s", c.Name, count(len(c.Rules), "rule")))
		f.Why, f.Issue = "a rule that still calls it serves an endpoint or Service that is gone", "kubernetes#112604"
		f.Remedy = "restart kube-proxy, which deletes what it does not know"
		a.found(f)
	}
}

func statistic(r iptables.Rule) (xt.Statistic, bool) {
	for _, m := range r.Matches {
		if s, ok := m.(xt.Statistic); ok {
			return s, true
		}
	}
	return xt.Statistic{}, false
}
