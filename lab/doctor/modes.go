package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/nat"
)

// What kube-proxy documents that nftables mode wants (pkg/proxy/nftables: getNFTablesInterface).
const (
	nftKernelMajor, nftKernelMinor = 5, 13
	wantedNFT                      = "1.0.1"
)

// modeProbes tell of each of kube-proxy's modes whether a kube-proxy could run in it on this machine.
func modeProbes() []probe {
	return []probe{
		{
			feature: Feature{
				Name: "mode iptables", For: "kube-proxy's iptables mode: iptables and iptables-restore of one backend, with the kernel's tables filter, nat and mangle and its matches and targets",
				Instead: "nftables mode where that is there", Remedy: installIptables,
			},
			try: tryIptablesMode,
		},
		{
			feature: Feature{
				Name: "mode nftables", For: "kube-proxy's nftables mode: Linux 5.13, nft " + wantedNFT + ", and nf_tables with what its table is made of",
				Instead: "iptables mode where that is there", Remedy: "apt-get install nftables, and a kernel of 5.13 or later with CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_NUMGEN, CONFIG_NFT_FIB_IPV4",
			},
			try: tryNFTablesMode,
		},
		{
			feature: Feature{
				Name: "nft lists this machine's tables", For: "kube-proxy in nftables mode here, outside of labs: one without kubernetes#137501 (before 1.36, and its picks) lists all sets and chains, and its nft has to read those of newer ones",
				Instead: "a lab's nodes have tables of their own", Remedy: "an nft that is no older than those that wrote the tables, and no nft 1.0.6 beside 1.1.2 or later (kubernetes#136786)",
			},
			try: tryListing,
		},
		{
			feature: Feature{
				Name: "mode ipvs", For: "kube-proxy's ipvs mode: ip_vs with a scheduler, ip_set, the program ipset, and what iptables mode needs",
				Instead: "iptables mode", Remedy: "modprobe ip_vs ip_vs_rr ip_set; apt-get install ipset",
			},
			try: tryIPVSMode,
		},
	}
}

// tryIptablesMode is good where one backend is.
func tryIptablesMode(ctx context.Context, ns *netns.Handle) (string, error) {
	var with []string
	var errs []error
	for _, b := range dataplane.Backends() {
		version, err := tryBackend(ctx, ns, b, nat.IPv4)
		if err == nil {
			_, err = tryRules(ctx, ns, b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b, err))
			continue
		}
		with = append(with, version)
	}
	if len(with) == 0 {
		return "", errors.Join(errs...)
	}
	return strings.Join(with, ", "), nil
}

// nftPart is something that a table has, and a table's text with it and nothing else.
type nftPart struct{ what, text string }

// nftParts are what kube-proxy's table is made of, each by itself.
func nftParts() []nftPart {
	return []nftPart{
		{"sets", "set s { type ipv4_addr ; comment \"x\" ; }"},
		{"maps of concatenations to verdicts", "map m { type ipv4_addr . inet_proto . inet_service : verdict ; }\nchain c { ip daddr . meta l4proto . th dport vmap @m ; }"},
		{"sets with a timeout", "set s { type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; }\nchain c { update @s { ip saddr } ; ip saddr @s accept ; }"},
		{"intervals in concatenations", "set s { type ipv4_addr . inet_proto . inet_service . ipv4_addr ; flags interval ; }\nchain c { ip daddr . meta l4proto . th dport . ip saddr @s accept ; }"},
		{"base chains at DNAT", "chain c { type nat hook prerouting priority -100 ; meta l4proto tcp dnat to 10.0.0.1:80 ; }"},
		{"random choices", "chain e { }\nchain c { numgen random mod 2 vmap { 0 : goto e, 1 : goto e } ; }"},
		{"random choices of DNAT", "chain c { type nat hook output priority -100 ; meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 } ; }"},
		{"masquerade", "chain c { type nat hook postrouting priority 100 ; masquerade fully-random ; }"},
		{"fib", "chain c { fib daddr type local accept ; }"},
		{"marks", "chain c { mark set mark or 0x4000 ; }"},
		{"reject", "chain c { type filter hook forward priority 0 ; ct state new reject ; }"},
	}
}

func tryNFTablesMode(ctx context.Context, ns *netns.Handle) (string, error) {
	return tryNFTables(ctx, ns, nftParts())
}

// tryNFTables loads each part, and holds versions against what kube-proxy asks for.
func tryNFTables(ctx context.Context, ns *netns.Handle, parts []nftPart) (string, error) {
	version, err := dataplane.NFTVersion(ctx, ns)
	if err != nil {
		return "", err
	}
	kernel, err := dataplane.Kernel()
	if err != nil {
		return "", err
	}
	var missing []string
	for _, part := range parts {
		err := dataplane.RunNFT(ctx, ns, "add table ip doctor\ndelete table ip doctor\ntable ip doctor {\n"+part.text+"\n}\n")
		if refused := (*dataplane.RefusedError)(nil); errors.As(err, &refused) {
			missing = append(missing, part.what)
		} else if err != nil {
			return "", err
		}
	}
	detail := fmt.Sprintf("Linux %s, nft %s", kernel, version)
	if older(version, wantedNFT) {
		missing = append(missing, "nft "+wantedNFT)
	}
	if kernel.Before(nftKernelMajor, nftKernelMinor) {
		missing = append(missing, fmt.Sprintf("Linux %d.%d", nftKernelMajor, nftKernelMinor))
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("%s: without %s: %w", detail, strings.Join(missing, ", "), errors.ErrUnsupported)
	}
	return detail, dataplane.RunNFT(ctx, ns, "delete table ip doctor\n")
}

// older compares versions of nft, such as 1.0.6 and 1.0.6.1.
func older(version, than string) bool {
	number := func(text string) (out [4]int) {
		for i, part := range strings.SplitN(text, ".", len(out)) {
			_, _ = fmt.Sscanf(part, "%d", &out[i]) // what is no number counts as 0
		}
		return out
	}
	a, b := number(version), number(than)
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// here is the namespace that doctor runs in: it is read, and nothing in it is changed.
type here struct{}

// Do calls f.
func (here) Do(f func() error) error { return f() }

// tryListing has nft read what is there: one that cannot ends, or dies.
func tryListing(ctx context.Context, _ *netns.Handle) (string, error) {
	version, err := dataplane.NFTVersion(ctx, here{})
	if err != nil {
		return "", err
	}
	tables := 0
	for _, family := range []string{"ip", "ip6", "inet"} {
		text, err := dataplane.ListNFT(ctx, here{}, family)
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return "", fmt.Errorf("nft %s cannot read the tables of %s: %w: %w", version, family, err, errors.ErrUnsupported)
		}
		if err != nil {
			return "", err
		}
		tables += strings.Count("\n"+text, "\ntable ")
	}
	return fmt.Sprintf("nft %s, %d tables", version, tables), nil
}

// findIPVS looks for ip_vs in the thread's namespace, and has the kernel load it first where it is a module: it does when its netlink is asked for by name
// (genetlink.c: ctrl_getfamily), as kube-proxy asks.
func findIPVS() error {
	if nl, err := netlink.NewHandle(unix.NETLINK_GENERIC); err == nil {
		_, _ = nl.GenlFamilyGet("IPVS") // what came of it is seen below
		nl.Close()
	}
	if _, err := os.Stat("/proc/thread-self/net/ip_vs"); err != nil {
		return fmt.Errorf("no ip_vs: %w", err)
	}
	return nil
}

func tryIPVSMode(ctx context.Context, ns *netns.Handle) (string, error) {
	_, err := tryIptablesMode(ctx, ns)
	if err != nil {
		return "", err
	}
	var missing []string
	if ns.Do(findIPVS) != nil {
		missing = append(missing, "ip_vs in the kernel")
	}
	if _, err := exec.LookPath("ipset"); err != nil {
		missing = append(missing, "the program ipset")
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("without %s: %w", strings.Join(missing, ", "), errors.ErrUnsupported)
	}
	return "", nil
}
