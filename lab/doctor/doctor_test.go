package doctor

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
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
	require.False(t, netns.Exists(fmt.Sprintf("natlab-doctor-%d", os.Getpid())), "the namespace stays behind")
	again := Examine(t.Context())
	require.True(t, slices.EqualFunc(features, again, func(a, b Feature) bool { return a.Name == b.Name && a.Have == b.Have }))
}

// The design's list of what this family of machines has and lacks, wherever a test runs on one of them.
func TestExamineAgreesWithTheKernelsConfiguration(t *testing.T) {
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	config := kernelConfig(t)
	if config == nil {
		t.Skip("neither /proc/config.gz nor /boot shows the configuration of the kernel: nothing to compare with")
	}
	have := map[string]Answer{}
	for _, f := range Examine(t.Context()) {
		have[f.Name] = f.Have
	}
	for name, option := range map[string]string{
		"ipip": "CONFIG_NET_IPIP", "vxlan": "CONFIG_VXLAN", "tun": "CONFIG_TUN", "netem": "CONFIG_NET_SCH_NETEM", "veth": "CONFIG_VETH",
		"queue in nf_tables": "CONFIG_NFT_QUEUE", "conntrack ids in NFQUEUE": "CONFIG_NETFILTER_NETLINK_GLUE_CT",
		"nfacct": "CONFIG_NETFILTER_NETLINK_ACCT", "SCTP sockets": "CONFIG_IP_SCTP", "IPVS": "CONFIG_IP_VS",
	} {
		t.Run(name, func(t *testing.T) {
			switch config[option] {
			case "y":
				require.Equal(t, Yes, have[name], "%s with %s=y", name, option)
			case "":
				require.Equal(t, No, have[name], "%s without %s", name, option)
			}
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

// kernelConfig reads the kernel's configuration, nil where it is not shown.
func kernelConfig(t *testing.T) map[string]string {
	t.Helper()
	text, err := readConfig()
	if err != nil { // Debian's kernels have theirs as a file
		release, failed := dataplane.Release()
		require.NoError(t, failed)
		file, failed := os.ReadFile("/boot/config-" + release)
		if failed != nil {
			return nil
		}
		text = string(file)
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = value
		}
	}
	return out
}

func readConfig() (string, error) {
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(z)
	return string(b), err
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
