package labtest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/labtest"
	"natlab/nat/proof"
	"natlab/topology"
)

// BenchmarkVerify proves all flows of the reference lab, which is to take no more than five seconds.
func BenchmarkVerify(b *testing.B) {
	c, err := topology.Reference()
	require.NoError(b, err)
	l := labtest.New(b, c)
	flows := 0
	for b.Loop() {
		flows = len(labtest.Prove(b, l, proof.Selector{}).Flows)
	}
	b.ReportMetric(float64(flows), "flows")
	require.Less(b, b.Elapsed()/time.Duration(b.N), 5*time.Second)
}
