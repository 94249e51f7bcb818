package lab

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func processes(tb testing.TB) []int {
	tb.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(tb, err)
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// hostNetwork is all of the host's own network that a lab could disturb: links, addresses, routes, policy rules,
// settings. Addresses and counters that live, and neighbours, are left out.
func hostNetwork(tb testing.TB) map[string]string {
	tb.Helper()
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	require.NoError(tb, err)
	defer nl.Close()
	out := map[string]string{}
	links, err := nl.LinkList()
	require.NoError(tb, err)
	for _, l := range links {
		a := l.Attrs()
		out["link "+a.Name] = fmt.Sprint(a.Index, l.Type(), a.MTU, a.HardwareAddr, a.Flags, a.MasterIndex)
	}
	addresses, err := nl.AddrList(nil, netlink.FAMILY_ALL)
	require.NoError(tb, err)
	for _, a := range addresses {
		out["address "+a.IPNet.String()] = fmt.Sprint(a.LinkIndex, a.Flags, a.Scope)
	}
	routes, err := nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	require.NoError(tb, err)
	for i, r := range routes {
		out[fmt.Sprint("route ", i)] = r.String()
	}
	rules, err := nl.RuleList(netlink.FAMILY_ALL)
	require.NoError(tb, err)
	for i, r := range rules {
		out[fmt.Sprint("rule ", i)] = r.String()
	}
	maps.Copy(out, settings(tb))
	return out
}

func settings(tb testing.TB) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_count") {
			return err
		}
		if text, err := os.ReadFile(path); err == nil { // some are write-only
			out["sysctl "+path] = string(text)
		}
		return nil
	})
	require.NoError(tb, err)
	require.Greater(tb, len(out), 100)
	return out
}
