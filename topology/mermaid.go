package topology

import (
	"fmt"
	"strings"
)

// Mermaid is the plan as a Mermaid flow chart: who hangs on the underlay, the pods of each node, and what is behind
// the router.
func (p Plan) Mermaid() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	id := map[string]string{}
	for i, ns := range p.Namespaces {
		id[ns.Name] = fmt.Sprintf("n%d", i)
	}
	line("flowchart LR")
	for _, ns := range p.Namespaces {
		me := id[ns.Name]
		switch ns.Kind {
		case KindUnderlay:
			line("  %s[[\"underlay<br/>%s\"]]", me, bridgeDevice)
		case KindRouter:
			line("  %s{{\"%s\"}}", me, ns.caption())
		case KindNode:
			line("  %s[\"%s\"]", me, ns.caption())
		case KindPod, KindClient:
			line("  %s(\"%s\")", me, ns.caption())
		}
	}
	for _, ns := range p.Namespaces {
		for _, d := range ns.Devices {
			if d.Kind != Veth || !d.Create {
				continue
			}
			far, near := id[d.Peer.Namespace], id[ns.Name]
			if ns.Kind == KindUnderlay {
				line("  %s ---|%s| %s", far, d.Peer.Device, near)
			} else {
				line("  %s ---|%s| %s", near, d.Name, far)
			}
		}
	}
	line("  classDef machine fill:#dbeafe,stroke:#1d4ed8")
	line("  classDef pod fill:#dcfce7,stroke:#15803d")
	line("  classDef outside fill:#fef9c3,stroke:#a16207")
	class := map[Kind]string{KindNode: "machine", KindPod: "pod", KindClient: "outside", KindRouter: "outside"}
	for _, ns := range p.Namespaces {
		if c := class[ns.Kind]; c != "" {
			line("  class %s %s", id[ns.Name], c)
		}
	}
	return b.String()
}

// caption is a namespace's name and addresses, and the addresses it answers ARP for.
func (n Namespace) caption() string {
	parts := []string{n.Member}
	for _, a := range n.Addresses {
		if a.Scope == ScopeGlobal {
			parts = append(parts, a.Device+" "+a.Prefix.String())
		}
	}
	for _, e := range n.Neighbours {
		if e.Proxy {
			parts = append(parts, "answers for "+e.IP.String())
		}
	}
	return strings.Join(parts, "<br/>")
}
