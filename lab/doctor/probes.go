package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/iptables"
)

const installIptables = "apt-get install iptables"

// probes lists the features in the order in which doctor reports them.
func probes() []probe {
	var out []probe
	for _, list := range [][]probe{machineProbes(), ruleProbes(), linkProbes(), witnessProbes(), trafficProbes(), modeProbes()} {
		out = append(out, list...)
	}
	return out
}

func machineProbes() []probe {
	return []probe{
		{
			feature:  Feature{Name: "kernel", For: "Linux 5.10 or later is what natlab was tried on"},
			rootless: true,
			try:      func(context.Context, *netns.Handle) (string, error) { return dataplane.Release() },
		},
		{
			feature: Feature{
				Name: "nf_conntrack_max in a namespace", For: "scenarios with a full connection tracking table",
				Instead: "the host's limit is shared by all labs and left alone; those scenarios are not run",
			},
			try: func(_ context.Context, ns *netns.Handle) (string, error) {
				return "", ns.Do(func() error {
					f, err := os.OpenFile("/proc/sys/net/netfilter/nf_conntrack_max", os.O_WRONLY, 0)
					if err != nil {
						return fmt.Errorf("it cannot be written there: %w", err)
					}
					return f.Close()
				})
			},
		},
	}
}

func ruleProbes() []probe {
	out := []probe{{
		feature: Feature{
			Name: "nft program", For: "what natlab does not write or read itself of the tables that other agents have",
			Instead: "such a statement is followed both ways, and a bundle's table with it is left out",
			Remedy:  "apt-get install nftables",
		},
		try: func(ctx context.Context, ns *netns.Handle) (string, error) {
			_, err := dataplane.ListNFT(ctx, ns, "ip")
			return "", err
		},
	}}
	for _, b := range dataplane.Backends() {
		other := "labs use the other backend: natlab up --backend " + string(dataplane.NFT)
		if b == dataplane.NFT {
			other = "labs use the other backend: natlab up --backend " + string(dataplane.Legacy)
		}
		for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
			out = append(out, probe{
				feature: Feature{
					Name: fmt.Sprintf("%s, %s", b, family), For: "kube-proxy's rules in a node", Instead: other, Remedy: installIptables,
				},
				try: func(ctx context.Context, ns *netns.Handle) (string, error) { return tryBackend(ctx, ns, b, family) },
			})
		}
		out = append(out, probe{
			feature: Feature{
				Name: string(b) + ": matches and targets of kube-proxy", For: "sessionAffinity, load sharing, masquerade, REJECT",
				Instead: "a rule set that needs what is missing is refused with its line", Remedy: "a kernel with all of CONFIG_NETFILTER_XT_*",
			},
			try: func(ctx context.Context, ns *netns.Handle) (string, error) { return tryRules(ctx, ns, b) },
		})
	}
	return append(out, probe{
		feature: Feature{
			Name: "nfacct", For: "the counters that kube-proxy 1.31 and later name in their rules",
			Instead: "rule sets of release v1.31 and later are refused; those before work", Remedy: "a kernel with CONFIG_NETFILTER_NETLINK_ACCT",
		},
		try: func(_ context.Context, ns *netns.Handle) (string, error) {
			return "", dataplane.MakeCounters(ns, "natlab-doctor")
		},
	})
}

// tryBackend installs an empty filter table.
func tryBackend(ctx context.Context, ns *netns.Handle, b dataplane.Backend, family nat.Family) (string, error) {
	version, err := dataplane.Version(ctx, b)
	if err != nil {
		return "", err
	}
	return version, tryInstall(ctx, ns, b, family, "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
}

// tryRules installs a rule for each match and target that kube-proxy writes, and names those that are refused.
func tryRules(ctx context.Context, ns *netns.Handle, b dataplane.Backend) (string, error) {
	rules := []string{
		`-A DOCTOR -m comment --comment doctor -j ACCEPT`,
		`-A DOCTOR -p tcp -m tcp --dport 80 -j ACCEPT`,
		`-A DOCTOR -p udp -m udp --dport 53 -j ACCEPT`,
		`-A DOCTOR -p sctp -m sctp --dport 9 -j ACCEPT`,
		`-A DOCTOR -m addrtype --dst-type LOCAL -j ACCEPT`,
		`-A DOCTOR -m conntrack --ctstate INVALID -j ACCEPT`,
		`-A DOCTOR -m mark --mark 0x4000/0x4000 -j ACCEPT`,
		`-A DOCTOR -m physdev --physdev-is-in -j ACCEPT`,
		`-A DOCTOR -m recent --rcheck --seconds 10800 --reap --name DOCTOR --mask 255.255.255.255 --rsource -j ACCEPT`,
		`-A DOCTOR -m statistic --mode random --probability 0.50000000000 -j ACCEPT`,
		`-A DOCTOR -j MARK --set-xmark 0x4000/0x4000`,
		`-A DOCTOR -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80`,
		`-A DOCTOR -j MASQUERADE --random-fully`,
	}
	if err := tryInstall(ctx, ns, b, nat.IPv4, natTable(rules...)); err == nil {
		return "", nil
	}
	var missing []string
	for _, rule := range rules {
		if err := tryInstall(ctx, ns, b, nat.IPv4, natTable(rule)); err != nil {
			if refused := (*dataplane.RefusedError)(nil); !errors.As(err, &refused) {
				return "", err
			}
			missing = append(missing, strings.TrimPrefix(rule, "-A DOCTOR "))
		}
	}
	return "", fmt.Errorf("refused: %s: %w", strings.Join(missing, "; "), errors.ErrUnsupported)
}

func natTable(rules ...string) string {
	return "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCTOR - [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
}

func tryInstall(ctx context.Context, ns *netns.Handle, b dataplane.Backend, family nat.Family, text string) error {
	rs, err := iptables.Parse(strings.NewReader(text), family)
	if err != nil {
		return err
	}
	d, err := dataplane.New(b)
	if err != nil {
		return err
	}
	return d.Install(ctx, ns, rs)
}

func linkProbes() []probe {
	tryLink := func(l netlink.Link) func(context.Context, *netns.Handle) (string, error) {
		return func(_ context.Context, ns *netns.Handle) (string, error) { return "", tryLink(ns, l) }
	}
	named := func(name string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name} }
	return []probe{
		{
			feature: Feature{Name: "veth", For: "every link of a lab", Needed: true, Remedy: "a kernel with CONFIG_VETH"},
			try:     tryLink(&netlink.Veth{LinkAttrs: named("doctor-veth"), PeerName: "doctor-peer"}),
		},
		{
			feature: Feature{Name: "bridge", For: "the underlay", Needed: true, Remedy: "a kernel with CONFIG_BRIDGE"},
			try:     tryLink(&netlink.Bridge{LinkAttrs: named("doctor-br")}),
		},
		{
			feature: Feature{
				Name: "ipip", For: "tunl0, overlay ipip", Remedy: "a kernel with CONFIG_NET_IPIP",
				Instead: "tunl0 is a TUN device served by natlab with the same wire format; the skb mark does not reach the outer packet",
			},
			try: tryLink(&netlink.Iptun{LinkAttrs: named("doctor-ipip"), Local: []byte{127, 0, 0, 1}}),
		},
		{
			feature: Feature{
				Name: "tun", For: "tunl0 on a kernel without ipip", Remedy: "modprobe tun",
				Instead: "overlay ipip needs the kernel's ipip; vxlan and none work",
			},
			try: func(_ context.Context, ns *netns.Handle) (string, error) {
				return "", ns.Do(tryTun)
			},
		},
		{
			feature: Feature{Name: "vxlan", For: "overlay vxlan", Instead: "overlays ipip and none", Remedy: "a kernel with CONFIG_VXLAN"},
			try:     tryLink(&netlink.Vxlan{LinkAttrs: named("doctor-vxlan"), VxlanId: 1, Port: 4789}),
		},
		{
			feature: Feature{
				Name: "netem", For: "delay and loss on a link", Remedy: "a kernel with CONFIG_NET_SCH_NETEM",
				Instead: "packets are held, dropped and reordered at the taps (NFQUEUE)",
			},
			try: func(_ context.Context, ns *netns.Handle) (string, error) { return "", tryNetem(ns) },
		},
	}
}

func tryLink(ns *netns.Handle, l netlink.Link) error {
	nl, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer nl.Close()
	if err := nl.LinkAdd(l); err != nil {
		return err
	}
	return nl.LinkDel(l)
}

// tryTun makes a TUN device, which goes away with its file.
func tryTun() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq("doctor-tun")
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	return errors.Join(err, unix.Close(fd))
}

func tryNetem(ns *netns.Handle) error {
	nl, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer nl.Close()
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return err
	}
	return nl.QdiscAdd(netlink.NewNetem(
		netlink.QdiscAttrs{LinkIndex: lo.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		netlink.NetemQdiscAttrs{Latency: 1}))
}

func witnessProbes() []probe {
	var support *witness.Support // probed once for all
	of := func(pick func(witness.Support) error) func(context.Context, *netns.Handle) (string, error) {
		return func(_ context.Context, ns *netns.Handle) (string, error) {
			if support == nil {
				got := witness.Probe(ns)
				support = &got
			}
			return "", pick(*support)
		}
	}
	return []probe{
		{
			feature: Feature{
				Name: "NFQUEUE", For: "the packet witness, and holding packets", Instead: "verify cannot prove anything: inconclusive",
				Remedy: "a kernel with CONFIG_NETFILTER_NETLINK_QUEUE, CONFIG_NETFILTER_XT_TARGET_NFQUEUE, CONFIG_NFT_COMPAT",
			},
			try: of(func(s witness.Support) error { return s.Queue }),
		},
		{
			feature: Feature{Name: "queue in nf_tables", For: "NFQUEUE without x_tables", Instead: "the xt NFQUEUE target through nft_compat"},
			try:     of(func(s witness.Support) error { return s.NativeQueue }),
		},
		{
			feature: Feature{
				Name: "conntrack ids in NFQUEUE", For: "joining a packet to its connection",
				Instead: "packets are joined to connections by their tuples", Remedy: "a kernel with CONFIG_NETFILTER_NETLINK_GLUE_CT",
			},
			try: of(func(s witness.Support) error { return s.QueueConn }),
		},
		{
			feature: Feature{
				Name: "nf_tables trace", For: "the rule witness, iptables-nft", Instead: "verify of iptables-nft nodes is inconclusive",
				Remedy: "a kernel with CONFIG_NF_TABLES",
			},
			try: of(func(s witness.Support) error { return s.Trace }),
		},
		{
			feature: Feature{
				Name: "nf_log by nfnetlink", For: "the rule witness, iptables-legacy", Instead: "verify of iptables-legacy nodes is inconclusive",
				Remedy: "a kernel with CONFIG_NETFILTER_NETLINK_LOG",
			},
			try: of(func(s witness.Support) error { return s.Log }),
		},
		{
			feature: Feature{
				Name: "ctnetlink events", For: "the connection witness", Instead: "verify cannot prove anything: inconclusive",
				Remedy: "a kernel with CONFIG_NF_CT_NETLINK, CONFIG_NF_CONNTRACK_EVENTS",
			},
			try: of(func(s witness.Support) error { return s.Conns }),
		},
	}
}

func trafficProbes() []probe {
	return []probe{
		{
			feature:  Feature{Name: "SCTP sockets", For: "Services with protocol SCTP", Instead: "raw sockets speak it from user space, as far as a request and an answer go", Remedy: "modprobe sctp"},
			rootless: true,
			try: func(context.Context, *netns.Handle) (string, error) {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP) // which loads the module where there is one
				if err != nil {
					return "", err
				}
				return "", unix.Close(fd)
			},
		},
		{
			feature: Feature{Name: "IPVS", For: "kube-proxy's ipvs mode", Instead: "iptables mode, or ipvs mode in a VM (natlab vm run)", Remedy: "modprobe ip_vs"},
			try: func(_ context.Context, ns *netns.Handle) (string, error) {
				return "", ns.Do(findIPVS)
			},
		},
	}
}
