package diagnosis

import (
	"strings"

	"natlab/nat"
)

// Allowed tells of a rule that changes a packet's source or ends it whether that is what its agent is there for, whatever Services call for: whose
// it is, and what for. It is "" for every other rule, be it the same agent's: what drops packets that are invalid to conntrack, or a rule that
// somebody else put into the agent's chain. Whether the agent's own objects call for the rule is not looked at.
func Allowed(s nat.Step) (owner, what string) {
	switch {
	case s.Table == "nat" && s.Hook == nat.PostRouting && (s.Target == "MASQUERADE" || s.Target == "SNAT") && outgoing(s):
		owner, what = ruleOwner(s.Table, s.Chain, s.Target, s.Text), "NAT of what pods send out of the pod network"
		if owner == "" {
			owner = "a CNI plugin" // flannel of old, and plugins like it: they write no comment
		}
		return owner, what
	case (s.Verdict == nat.Drop || s.Verdict == nat.Reject) && policy(s):
		return ruleOwner(s.Table, s.Chain, s.Target, s.Text), "NetworkPolicy"
	}
	return "", ""
}

// outgoing reports whether a rule is an agent's for what leaves the pod network: natOutgoing of Calico's pools, flanneld's --ip-masq, ipMasq of
// CNI's bridge and ptp (each names multicast as what it leaves alone), the agents of that name, and kube-router's --enable-pod-egress.
func outgoing(s nat.Step) bool {
	switch {
	case s.Chain == "cali-nat-outgoing":
		return strings.Contains(s.Text, "cali:")
	case strings.HasPrefix(s.Chain, "IP-MASQ"), strings.HasPrefix(s.Chain, "KIND-MASQ"), s.Chain == "FLANNEL-POSTRTG", strings.HasPrefix(s.Chain, "AWS-SNAT-CHAIN-"):
		return true
	}
	return strings.Contains(s.Text, "! -d 224.0.0.0/4 ") || strings.Contains(s.Text, "--match-set kube-router-pod-subnets src")
}

// policy reports whether a rule is one by which an agent enforces NetworkPolicies: Calico's in the chains of its policies, and where none of them
// has passed a packet; kube-router's for pods whose policies did not take it.
func policy(s nat.Step) bool {
	if s.Table != "filter" || !strings.Contains(s.Text, "--comment ") {
		return false
	}
	switch {
	case strings.HasPrefix(s.Chain, "cali-pi-"), strings.HasPrefix(s.Chain, "cali-po-"):
		return strings.Contains(s.Text, "cali:")
	case strings.HasPrefix(s.Chain, "cali-fw-"), strings.HasPrefix(s.Chain, "cali-tw-"):
		return strings.Contains(s.Text, "Drop if no policies passed packet")
	case strings.HasPrefix(s.Chain, "KUBE-POD-FW-"):
		return strings.Contains(s.Text, "rule to REJECT traffic destined for POD")
	}
	return false
}
