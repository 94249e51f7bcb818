package proxy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"natlab/topology"
)

// Where a node's API server and its kube-proxy listen, in the node's own namespace.
const (
	apiAddress     = "127.0.0.1:6443"
	metricsAddress = "127.0.0.1:10249"
	healthzPort    = 10256
)

// leastPeriod is kube-proxy's minSyncPeriod in a lab: nobody waits for its second. It cannot be none, which stands for the second.
const leastPeriod = "10ms"

// rarePeriod is kube-proxy's syncPeriod in ipvs mode where the cluster's is the usual one: each of its syncs runs some hundred programs one after the other, and a VM would
// never be done with them.
const usualPeriod, rarePeriod = 30 * time.Second, time.Hour

// syncPeriod is a cluster's, 0 for kube-proxy's own.
func syncPeriod(kp topology.KubeProxy, mode string) time.Duration {
	if mode == topology.ModeIPVS && (kp.SyncPeriod == 0 || kp.SyncPeriod == usualPeriod) {
		return rarePeriod
	}
	return kp.SyncPeriod
}

// configuration is a node's KubeProxyConfiguration, v1alpha1, as JSON, which is YAML. It has what the cluster's has, and is silent where that is. fair is for a kube-proxy
// whose log is fair.
func configuration(c topology.Cluster, node, kubeconfig string, fair bool) ([]byte, error) {
	kp := c.KubeProxy
	mode := cmp.Or(kp.Mode, topology.ModeIPTables)
	plane := map[string]any{"minSyncPeriod": leastPeriod}
	if period := syncPeriod(kp, mode); period > 0 {
		plane["syncPeriod"] = period.String()
	}
	if kp.MasqueradeBit >= 0 && kp.Configured {
		plane["masqueradeBit"] = kp.MasqueradeBit
	}
	if kp.MasqueradeAll {
		plane["masqueradeAll"] = true
	}
	if mode == topology.ModeIPTables && kp.Configured && !kp.LocalhostNodePorts {
		plane["localhostNodePorts"] = false // 1.25 does not know the word
	}
	var masquerade map[string]any // of ipvs mode, which has it in iptables mode's section
	if mode == topology.ModeIPVS {
		masquerade, plane = plane, map[string]any{}
		if kp.StrictARP {
			plane["strictARP"] = true
		}
		for _, name := range []string{"minSyncPeriod", "syncPeriod"} {
			if period, has := masquerade[name]; has {
				plane[name] = period
			}
		}
	}
	// Its timeouts stay kube-proxy's own, see Sets.
	conntrack := map[string]any{"maxPerCore": 0, "min": 0} // no namespace but the first may write nf_conntrack_max
	if kp.TCPBeLiberal {
		conntrack["tcpBeLiberal"] = true
	}
	all := map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": mode, "hostnameOverride": node, mode: plane, "conntrack": conntrack, "oomScoreAdj": 0,
		"metricsBindAddress": metricsAddress, "healthzBindAddress": fmt.Sprintf("0.0.0.0:%d", healthzPort), "enableProfiling": true,
		"clientConnection": map[string]any{"kubeconfig": kubeconfig, "qps": 100, "burst": 100},
	}
	if masquerade != nil {
		all[topology.ModeIPTables] = masquerade
	}
	if kp.BindAddress.IsValid() {
		all["bindAddress"] = kp.BindAddress.String()
	}
	if len(kp.ClusterCIDRs) > 0 {
		var cidrs []string
		for _, p := range kp.ClusterCIDRs {
			cidrs = append(cidrs, p.String())
		}
		all["clusterCIDR"] = strings.Join(cidrs, ",")
	}
	if len(kp.NodePortAddresses) > 0 {
		all["nodePortAddresses"] = kp.NodePortAddresses
	}
	if kp.DetectLocalMode != "" {
		all["detectLocalMode"] = kp.DetectLocalMode
	}
	if kp.BridgeInterface != "" || kp.InterfacePrefix != "" {
		all["detectLocal"] = map[string]any{"bridgeInterface": kp.BridgeInterface, "interfaceNamePrefix": kp.InterfacePrefix}
	}
	gates := maps.Clone(kp.FeatureGates)
	if fair && len(fairLog(kp)) > 0 {
		if gates == nil {
			gates = map[string]bool{}
		}
		gates["LoggingAlphaOptions"] = true
	}
	if len(gates) > 0 {
		all["featureGates"] = gates
	}
	return json.MarshalIndent(all, "", "  ")
}

// fairLog are the flags by which a kube-proxy of 1.30 or later writes its log behind a lock that is handed to who waits longest, as klog's own is in releases before: who logs to a
// file without a buffer waits for os.File's lock, which the goroutine that had it last mostly takes again before another has woken up. A configuration's own words for
// them are lost as kube-proxy reads its flags.
func fairLog(kp topology.KubeProxy) []string {
	if !kp.SinceRelease(30) {
		return nil
	}
	const room = 1 // bytes: no line fits in
	return []string{"--log-text-split-stream", fmt.Sprintf("--log-text-info-buffer-size=%d", room)}
}

// kubeconfig leads to the API server of the namespace that reads it.
func kubeconfig() ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "natlab",
		"clusters": []any{map[string]any{"name": "natlab", "cluster": map[string]any{"server": "http://" + apiAddress}}},
		"contexts": []any{map[string]any{"name": "natlab", "context": map[string]any{"cluster": "natlab", "user": ""}}},
	}, "", "  ")
}

// programs are the names by which kube-proxy calls iptables.
var programs = []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"}

// linkPrograms makes a directory in which the programs of one backend, "legacy" or "nft", go by the names that kube-proxy calls.
func linkPrograms(dir, backend string, lookPath func(string) (string, error)) error {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	for _, name := range programs {
		base, verb, _ := strings.Cut(name, "-")
		real := base + "-" + backend
		if verb != "" {
			real += "-" + verb
		}
		path, err := lookPath(real)
		if err != nil {
			return fmt.Errorf("kube-proxy calls %s: %w", name, err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// Sets reports whether a line of what is otherwise in a node's namespace than in a new one is of a timeout that every kube-proxy sets when it
// starts (conntrack.tcpEstablishedTimeout, tcpCloseWaitTimeout: defaults.go).
func Sets(line string) bool {
	for _, setting := range []string{"established is 86400,", "close_wait is 3600,"} {
		if strings.HasPrefix(line, "net/netfilter/nf_conntrack_tcp_timeout_"+setting) {
			return true
		}
	}
	return false
}

// Binds reports whether a difference of a namespace from what was planned is an address of a Service that a kube-proxy in ipvs mode gives the node (proxier.go: defaultDummyDevice).
func Binds(line string) bool { return strings.Contains(line, " dev kube-ipvs0 ") }
