package labtest_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/labtest"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/proof"
)

// A lab ends with its test, whether that ends it itself or not.
func TestLabEndsWithItsTest(t *testing.T) {
	var names []string
	for _, how := range []string{"left up", "taken down"} {
		t.Run(how, func(t *testing.T) {
			l := labtest.New(t, labtest.Load(t, "testdata/shop.yaml"))
			names = append(names, l.Name())
			h, err := l.Handle("default/shop-1")
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			a, err := traffic.Ask(ctx, h, nat.TupleOf(nat.TCP, netip.AddrPort{}, netip.MustParseAddrPort("10.96.0.80:80")))
			require.NoError(t, err)
			require.Contains(t, []string{"default/shop-1", "default/shop-2"}, a.Server)
			if how == "taken down" {
				require.NoError(t, l.Down(t.Context()))
			}
		})
	}
	all, err := lab.List()
	require.NoError(t, err)
	for _, s := range all {
		require.NotContains(t, names, s.Name)
	}
	require.Len(t, names, 2)
	require.NotEqual(t, names[0], names[1])
}

func TestProve(t *testing.T) {
	l := labtest.New(t, labtest.Load(t, "testdata/shop.yaml"))
	found := labtest.Prove(t, l, proof.Selector{Service: "default/shop", From: "node-1"})
	require.Equal(t, proof.Proved, found.Outcome())
	served := map[string]bool{}
	for _, c := range found.Flows {
		served[c.Server] = true
	}
	require.Equal(t, map[string]bool{"default/shop-1": true, "default/shop-2": true}, served)

	one := found.Flows[0].Flow
	found = labtest.ProveFlows(t, l, one)
	require.Len(t, found.Flows, 2) // by each endpoint
	require.Equal(t, one, found.Flows[0].Flow)
}

func TestExample(t *testing.T) { testShop(t) }

// failures is a test that notes how it would have failed.
type failures struct {
	testing.TB
	text []string
}

func (f *failures) Errorf(format string, args ...any) {
	f.text = append(f.text, fmt.Sprintf(format, args...))
}

func (f *failures) Error(args ...any) { f.text = append(f.text, fmt.Sprint(args...)) }

// What does not work fails the test, with the way and the rule.
func TestProveFails(t *testing.T) {
	l := labtest.New(t, labtest.Load(t, "testdata/shop.yaml"))
	status, err := l.Exec(t.Context(), "node-1", []string{"iptables-legacy", "-t", "nat", "-F", "KUBE-MARK-MASQ"}, lab.Streams{})
	require.NoError(t, err)
	require.Zero(t, status)
	var f failures
	f.TB = t
	labtest.Prove(&f, l, proof.Selector{Service: "default/shop", From: "outside"})
	require.NotEmpty(t, f.text)
	require.Contains(t, f.text[0], "disproved")
	require.Contains(t, f.text[0], "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000")

	f.text = nil
	labtest.Prove(&f, l, proof.Selector{Service: "default/no-such-service"})
	require.Equal(t, []string{"labtest: the lab has no such flow"}, f.text)
}
