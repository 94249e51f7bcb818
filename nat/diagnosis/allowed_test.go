package diagnosis

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

func TestAllowed(t *testing.T) {
	t.Parallel()
	post := func(chain, target, text string) nat.Step {
		return nat.Step{Hook: nat.PostRouting, Table: "nat", Chain: chain, Met: nat.Met{Target: target, Text: "-A " + chain + " " + text}}
	}
	forward := func(chain, text string, v nat.Verdict) nat.Step {
		return nat.Step{Hook: nat.Forward, Table: "filter", Chain: chain, Verdict: v, Met: nat.Met{Text: "-A " + chain + " " + text}}
	}
	const egress, policy = "NAT of what pods send out of the pod network", "NetworkPolicy"
	for _, row := range []struct {
		step        nat.Step
		owner, what string
	}{
		{post("cali-nat-outgoing", "MASQUERADE", `-m comment --comment "cali:flqWnvo8yq4ULQLa" -m set --match-set cali40masq-ipam-pools src -j MASQUERADE`), "Calico", egress},
		{post("cali-nat-outgoing", "MASQUERADE", "-j MASQUERADE"), "", ""}, // by hand
		{post("cali-POSTROUTING", "MASQUERADE", `-o tunl0 -m comment --comment "cali:SXWvdsbh4Mw7wOln" -j MASQUERADE`), "", ""},
		{post("FLANNEL-POSTRTG", "MASQUERADE", `-s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE`), "flannel", egress},
		{post("POSTROUTING", "MASQUERADE", "-s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully"), "a CNI plugin", egress},
		{post("CNI-0123456789abcdef01234567", "MASQUERADE", `! -d 224.0.0.0/4 -m comment --comment "name: \"net\" id: \"x\"" -j MASQUERADE`), "CNI", egress},
		{post("IP-MASQ-AGENT", "MASQUERADE", "-j MASQUERADE"), "ip-masq-agent", egress},
		{post("POSTROUTING", "MASQUERADE", "-j MASQUERADE"), "", ""},
		{post("KUBE-POSTROUTING", "MASQUERADE", "-j MASQUERADE --random-fully"), "", ""},
		{forward("cali-tw-cali3cc4bd22559", `-m comment --comment "cali:x" -m comment --comment "Drop if no policies passed packet" -j DROP`, nat.Drop), "Calico", policy},
		{forward("cali-pi-_Q9sJ7Vk", `-p tcp -m comment --comment "cali:x" -j DROP`, nat.Drop), "Calico", policy},
		{forward("cali-pi-_Q9sJ7Vk", "-p tcp -j DROP", nat.Drop), "", ""}, // by hand
		{forward("cali-pi-_Q9sJ7Vk", `-p tcp -m comment --comment "cali:x" -j MARK --set-xmark 0x10000/0x10000`, nat.Continue), "", ""},
		{forward("cali-tw-workload", `-m comment --comment "cali:x" -m conntrack --ctstate INVALID -j DROP`, nat.Drop), "", ""},
		{forward("cali-tw-workload", `-m comment --comment "cali:x" -m comment --comment "Drop if no profiles matched" -j DROP`, nat.Drop), "", ""}, // without a policy a profile lets all pass
		{forward("KUBE-POD-FW-DEFAULT", `-m comment --comment "rule to REJECT traffic destined for POD name:web" -m mark ! --mark 0x10000/0x10000 -j REJECT`, nat.Reject), "kube-router", policy},
		{forward("FORWARD", "-p tcp -j DROP", nat.Drop), "", ""},
	} {
		owner, what := Allowed(row.step)
		require.Equal(t, [2]string{row.owner, row.what}, [2]string{owner, what}, row.step.Text)
	}
}
