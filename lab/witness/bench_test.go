package witness_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/lab/witness"
	"natlab/topology"
)

// BenchmarkStart watches as many namespaces as the reference lab has, and ends it again.
func BenchmarkStart(b *testing.B) {
	require.Zero(b, os.Geteuid(), "network namespaces need root")
	var watched []witness.Watched
	for i := range 13 {
		name := fmt.Sprintf("natlab-witness-bench-%d-%d", os.Getpid(), i)
		h, err := netns.CreateLeased(name)
		require.NoError(b, err)
		b.Cleanup(func() {
			require.NoError(b, h.Close())
			require.NoError(b, netns.Delete(name))
		})
		kind := topology.KindNode
		if i >= 6 {
			kind = topology.KindPod
		}
		watched = append(watched, witness.Watched{Member: name, Kind: kind, NS: h})
	}
	for b.Loop() {
		s, err := witness.Start(b.Context(), watched, witness.Options{})
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}
