package migrate

import (
	"math"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// class is a difference that is documented. Its texts tell of a move from iptables to nftables; back is what to do on the way back.
type class struct {
	name                    string
	changes, whom, do, back string
	// is reports whether a difference is of it, by what is asked and by how it ends in both modes: one that ends otherwise than is documented is
	// of no class.
	is func(m *move, d *view) bool
}

// view is a difference by its modes, whichever is left.
type view struct {
	Question
	ipt, nft []Ending
}

// byMode sorts a difference's endings.
func (m *move) byMode(d *Difference) *view {
	if m.from.mode == topology.ModeNFTables {
		return &view{d.Question, d.To, d.From}
	}
	return &view{d.Question, d.From, d.To}
}

// sides are the two by their modes.
func (m *move) sides() (ipt, nft *side) {
	if m.from.mode == topology.ModeNFTables {
		return m.to, m.from
	}
	return m.from, m.to
}

// classify finds a difference's class; nil: it is not documented.
func (m *move) classify(d *Difference) *class {
	if m.from.mode == m.to.mode {
		return nil
	}
	v := m.byMode(d)
	for i := range classes {
		if classes[i].is(m, v) {
			return &classes[i]
		}
	}
	return nil
}

// numberOf is a class's number, from 1; 0 for none.
func numberOf(name string) int {
	return slices.IndexFunc(classes, func(c class) bool { return c.name == name }) + 1
}

// notServed reports whether an address of a node has no node ports in nftables mode, and has them in iptables mode, or at least rules that
// reject or drop what nobody can serve: those are for all of a node's addresses.
func (m *move) notServed(v *view) bool {
	ipt, nft := m.sides()
	a := v.Target.Addr()
	return v.owner != "" && !nft.serve(v.owner, a) && (ipt.serve(v.owner, a) || only(v.ipt, nat.EndRejected) || dropped(v.ipt))
}

// refusedByHost reports whether the node itself refuses: nobody listens.
func refusedByHost(all []Ending, node string) bool {
	return only(all, nat.EndRefused) && !slices.ContainsFunc(all, func(e Ending) bool { return e.Server != "" || !strings.HasPrefix(e.Where+" ", node+" ") })
}

// external reports whether a question is about an address for clients outside, other than a node port.
func external(v *view) bool { return v.Type == proof.ByLoadBalancer || v.Type == proof.ByExternalIP }

// isNode reports whether a client is a node.
func (m *move) isNode(client string) bool {
	_, is := m.from.cluster.Node(client)
	return is
}

// usable reports whether an endpoint of the family that is asked can serve.
func (v *view) usable() bool {
	if v.port == nil {
		return false
	}
	of := topology.ServicePort{Endpoints: slices.DeleteFunc(slices.Clone(v.port.Endpoints), func(e topology.Endpoint) bool {
		return topology.FamilyOf(e.Addr.Addr()) != topology.FamilyOf(v.Target.Addr())
	})}
	return usable(&of)
}

// usable reports whether an endpoint can serve.
func usable(p *topology.ServicePort) bool {
	return p != nil && slices.ContainsFunc(p.Endpoints, func(e topology.Endpoint) bool { return e.Ready || e.Serving })
}

// sentOn reports whether a flow ends where nobody of the cluster answers: it was sent on, and none of kube-proxy's rules dropped it.
func sentOn(all []Ending) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(e Ending) bool {
		own := e.by != nil && strings.HasPrefix(e.by.Chain, "KUBE-")
		return e.Server != "" || own || e.End != nat.EndLost && e.End != nat.EndUnreachable
	})
}

// byHost reports whether the node that has the address itself ends a flow: it answers a ping, or refuses.
func byHost(all []Ending) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(e Ending) bool { return e.Server != "" || e.End != nat.EndRefused && e.End != nat.EndAnswered })
}

// agentDropped reports whether all endings are that something drops the packet at a hook of iptables' filter table that is none of
// kube-proxy's: by policy, else by a rule.
func agentDropped(all []Ending, hook nat.Hook, policy bool) bool {
	return dropped(all) && !slices.ContainsFunc(all, func(e Ending) bool {
		return e.by == nil || e.by.Hook != hook || e.by.Table != "filter" || (e.by.Rule == 0) != policy || strings.HasPrefix(e.by.Chain, "KUBE-")
	})
}

// reached reports whether every client learns how its flow ends: an answer, or a refusal.
func reached(all []Ending) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(e Ending) bool {
		return e.End != nat.EndAnswered && e.End != nat.EndRefused && e.End != nat.EndRejected
	})
}

// masqueraded reports whether a flow is answered, and the server never sees the client's own address.
func masqueraded(v *view, all []Ending) bool {
	return only(all, nat.EndAnswered) && !slices.ContainsFunc(all, func(e Ending) bool { return e.As == v.Source })
}

// untranslated reports whether an endpoint got the packet, and its answer did not find back to who asked.
func (e Ending) untranslated() bool { return e.End == nat.EndLost && e.Server != "" && !e.Dropped }

// invalid reports whether iptables mode's rule for INVALID packets dropped it.
func (e Ending) invalid() bool { return e.Dropped && e.by != nil && e.by.Chain == "KUBE-FORWARD" }

// itself reports whether the client is served by its own pod.
func (v *view) itself(e Ending) bool { return e.Endpoint.Addr() == v.Source }

// remoteHairpin reports whether a pod that asks by another node comes back to itself: as that node in iptables mode, as itself in nftables mode,
// where its answer does not find back. Its ways to other endpoints end alike, or as of brokenAnswer.
func remoteHairpin(v *view) bool {
	hairpin := func(a, b Ending) bool {
		return v.itself(a) && a.End == nat.EndAnswered && a.As != v.Source && v.itself(b) && b.End == nat.EndLost && !b.Dropped && b.As == v.Source
	}
	return inPairs(v, hairpin, func(a, b Ending) bool { return hairpin(a, b) || a.alike(b) || invalidAnswer(a, b) })
}

// brokenAnswer reports whether an answer that comes back by another way than its request is dropped in iptables mode, and reaches who did not
// ask for it in nftables mode, whatever endpoint it is from, while all other ways end alike.
func brokenAnswer(v *view) bool {
	return inPairs(v, invalidAnswer, func(a, b Ending) bool { return invalidAnswer(a, b) || a.alike(b) })
}

func invalidAnswer(a, b Ending) bool { return a.invalid() && b.untranslated() }

// inPairs reports whether the endings of both modes are those of the same endpoints, in the same shares, each pair is allowed, and one is such.
func inPairs(v *view, such, allowed func(ipt, nft Ending) bool) bool {
	found := false
	for _, a := range v.ipt {
		at := slices.IndexFunc(v.nft, func(b Ending) bool { return b.Endpoint == a.Endpoint })
		if at < 0 || !allowed(a, v.nft[at]) || math.Abs(a.Share-v.nft[at].Share) > shareSlack {
			return false
		}
		found = found || such(a, v.nft[at])
	}
	return found && len(v.ipt) == len(v.nft)
}
