package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestExamine(t *testing.T) {
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	features := Examine(t.Context())
	require.Equal(t, "root", features[0].Name)
	names := map[string]bool{}
	for _, f := range features {
		require.False(t, names[f.Name], "%s is there twice", f.Name)
		names[f.Name] = true
		require.NotEmpty(t, f.For, f.Name)
		require.NotEqual(t, CannotTell, f.Have, "%s: %s", f.Name, f.Detail)
		if f.Have == Yes {
			require.Empty(t, f.Remedy+f.Instead, f.Name)
		} else {
			require.NotEmpty(t, f.Detail, f.Name)
			require.True(t, f.Needed || f.Instead != "", "%s: what happens without it", f.Name)
		}
		t.Logf("%-12s %-50s %s %s", f.Have, f.Name, f.Detail, f.Instead)
	}
	again := Examine(t.Context())
	require.True(t, slices.EqualFunc(features, again, func(a, b Feature) bool { return a.Name == b.Name && a.Have == b.Have }))
	made, err := filepath.Glob("/run/netns/" + throwawayPrefix() + "*")
	require.NoError(t, err)
	require.Empty(t, made, "a namespace stays behind")
}

// Scenarios that run side by side ask at the same time.
func TestSeveralAtOnce(t *testing.T) {
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	one, undo, err := throwaway()
	require.NoError(t, err)
	defer undo()
	other, undoOther, err := throwaway()
	require.NoError(t, err)
	defer undoOther()
	require.NotEqual(t, one, other)
}

// What was found out by trying is what the kernel has the functions of, built in or in a module that is loaded, or was by the trying.
func TestExamineAgreesWithTheKernelsSymbols(t *testing.T) {
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	features := Examine(t.Context())
	symbols := kernelSymbols(t)
	for name, symbol := range map[string]string{
		"ipip": "ipip_tunnel_xmit", "vxlan": "vxlan_xmit", "tun": "tun_net_xmit", "netem": "netem_enqueue", "veth": "veth_xmit",
		"queue in nf_tables": "nft_queue_eval", "conntrack ids in NFQUEUE": "ctnetlink_glue_build",
		"nfacct": "nfnl_acct_find_get", "SCTP sockets": "sctp_sendmsg", "IPVS": "register_ip_vs_scheduler",
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(features, func(f Feature) bool { return f.Name == name })
			require.GreaterOrEqual(t, i, 0)
			want := No
			if symbols[symbol] {
				want = Yes
			}
			require.Equal(t, want, features[i].Have, "by the symbol %s", symbol)
		})
	}
}

// Without root nothing is claimed of what could not be tried, and the first line gives the remedy.
func TestExamineWithoutRoot(t *testing.T) {
	features := examineIn(t.Context(), nil, fmt.Errorf("unshare: %w", unix.EPERM))
	require.Equal(t, No, features[0].Have)
	require.Contains(t, features[0].Remedy, "sudo")
	for _, f := range features[1:] {
		switch f.Name {
		case "kernel":
			require.Equal(t, Yes, f.Have)
		case "SCTP sockets":
			require.NotEqual(t, CannotTell, f.Have)
		default:
			require.Equal(t, CannotTell, f.Have, f.Name)
			require.Equal(t, "needs root to be tried", f.Detail)
		}
	}
}

// What settles as no, and what as not known.
func TestSettle(t *testing.T) {
	p := probe{feature: Feature{Name: "x", Instead: "y", Remedy: "z"}}
	require.Equal(t, Feature{Name: "x", Have: Yes, Detail: "v1"}, p.settle("v1", nil))
	no := p.settle("", fmt.Errorf("make x: %w", unix.EOPNOTSUPP))
	require.Equal(t, No, no.Have)
	require.Equal(t, "y", no.Instead)
	require.Equal(t, CannotTell, p.settle("", errors.New("out of memory")).Have)
}

func TestAnswerIsItsNameInJSON(t *testing.T) {
	for _, a := range []Answer{CannotTell, Yes, No} {
		b, err := json.Marshal(a)
		require.NoError(t, err)
		var back Answer
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, a, back)
	}
	var a Answer
	require.Error(t, json.Unmarshal([]byte(`"perhaps"`), &a))
}

// kernelSymbols are the functions of the kernel and of its modules, by /proc/kallsyms: an address, a kind, and a name, which a compiler may have
// put a suffix to.
func kernelSymbols(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("/proc/kallsyms")
	require.NoError(t, err)
	out := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && strings.EqualFold(f[1], "t") {
			name, _, _ := strings.Cut(f[2], ".")
			out[name] = true
		}
	}
	require.True(t, out["ip_rcv"], "/proc/kallsyms shows the kernel's functions")
	return out
}

// The page has every feature.
func TestPageHasTheFeatures(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, f := range examineIn(t.Context(), nil, errors.New("none is tried here")) {
		require.Contains(t, string(page), "`"+f.Name+"`")
	}
}
