package audit

import (
	"fmt"

	"natlab/nat/iptables"
	"natlab/nat/view"
	"natlab/nat/xt"
)

// rejects reports whether a rule refuses packets.
func rejects(r iptables.Rule) bool {
	switch r.Target.(type) {
	case xt.Reject, xt.Drop:
		return true
	}
	return false
}

// staleReject makes of an extra rule that refuses packets what it is.
func (a *auditor) staleReject(f Finding, r iptables.Rule) {
	f.Kind = StaleReject
	f.What = fmt.Sprintf("%q refuses packets that kube-proxy would let through", r.Text(f.Chain))
	f.Why = "clients of a Service that has endpoints are refused, as far as their packets are not translated before"
	f.Issue = "kubernetes#102314"
	f.Remedy = "delete the rule; kube-proxy does not clean up what another mode or backend of it left"
	a.found(f)
}

// leftovers finds what kube-proxy refuses in a backend that it does not write with.
func (a *auditor) leftovers(h Held) {
	for _, t := range h.Rules.Tables {
		want, _ := a.intent.Table(t.Name)
		for _, c := range t.Chains {
			if !kubeChain(c.Name) || kubelets[c.Name] || t.Name != "filter" {
				continue
			}
			intended := map[string]bool{}
			ours, _ := want.Chain(c.Name)
			for _, r := range ours.Rules {
				intended[key(r)] = true
			}
			for i, r := range c.Rules {
				if rejects(r) && !intended[key(r)] {
					a.staleReject(place{h.Backend, t.Name, c.Name}.finding(StaleReject, i+1, ""), r)
				}
			}
		}
	}
}

// bothBackends finds that rules of both backends act on the node's packets.
func (a *auditor) bothBackends(own Held) {
	for _, h := range a.node.Held {
		if h.Backend == own.Backend || !h.populated() || !own.populated() {
			continue
		}
		f := Finding{
			Kind: BothBackends, Backend: h.Backend,
			What:   fmt.Sprintf("%s and %s both hold rules", own.Backend, h.Backend),
			Why:    "both act on every packet, and no iptables shows both: what either of them drops is dropped; " + a.winner(),
			Issue:  "kubernetes#109811",
			Remedy: fmt.Sprintf("flush the rules of %s (%s-save shows them), and let all programs of the node use one backend", h.Backend, h.Backend),
		}
		if n := h.kube(); n > 0 {
			f.What += fmt.Sprintf("; %s of %s bear Kubernetes's name", count(n, "rule"), h.Backend)
		}
		a.found(f)
	}
}

// winner is whose NAT wins. Of two nat chains with the same priority the kernel calls the one that was registered
// last first, and the first that translates a connection decides. The kernel does not tell which that is.
func (a *auditor) winner() string {
	const rule = "of two translations the first decides, and that is the backend whose nat chains were made last"
	if a.node.First != "" {
		return fmt.Sprintf("%s, here %s", rule, a.node.First)
	}
	return rule + "; which one that is the kernel does not tell"
}

// hintChains are what programs look for to learn which backend a node uses.
var hintChains = []string{"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"}

// hints finds hint chains that point to a backend kube-proxy does not write with.
func (a *auditor) hints(own Held) {
	for _, h := range a.node.Held {
		if h.Backend == own.Backend {
			continue
		}
		for _, t := range h.Rules.Tables {
			for _, name := range hintChains {
				if _, ok := t.Chain(name); !ok {
					continue
				}
				a.found(Finding{
					Kind: Hint, Backend: h.Backend, Table: t.Name, Chain: name,
					What:   fmt.Sprintf("%s is in %s, and kube-proxy's rules are in %s", name, h.Backend, own.Backend),
					Why:    "containers that choose their iptables by this chain (iptables-wrappers, CNI plugins) write into the other backend",
					Issue:  "kubernetes#109059",
					Remedy: "let kubelet and kube-proxy use the same backend; then delete the chain from " + h.Backend,
				})
			}
		}
	}
}

// revisions finds what the versions of iptables in use on the node misread, or refuse to show.
func (a *auditor) revisions(h Held) {
	if h.Backend != legacy {
		return
	}
	for _, v := range a.node.Tools {
		for _, m := range view.Mismatches(v, h.Tables...) {
			f := place{h.Backend, m.Table, m.Chain}.finding(Revision, m.Rule, "")
			f.What = fmt.Sprintf("iptables %s reads %s of revision %d as revision %d", v, count(m.Count, m.Name), m.Revision, m.Read)
			f.Why, f.Issue = "the kernel's rules are right; what this iptables shows of them is not, and rules that it saves and restores are wrong or refused", "kubernetes#114537"
			if m.Refused {
				f.What = fmt.Sprintf("iptables %s shows %s of revision %d as [unsupported revision]", v, count(m.Count, m.Name), m.Revision)
				f.Why, f.Issue = "the kernel's rules are right; what this iptables saves of them cannot be restored", "kubernetes#95409"
			}
			f.Remedy = "look at rules with the iptables that wrote them (in kube-proxy's container), or use 1.8 or later on the node; never restore what the old one saved"
			a.found(f)
		}
	}
}
