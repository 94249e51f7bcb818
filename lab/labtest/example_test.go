package labtest_test

import (
	"testing"

	"natlab/lab/labtest"
	"natlab/nat/proof"
)

// testShop is what a test of one's own Services looks like: `func TestShop(t *testing.T)`. The lab ends with the test,
// and a flow that does not go as it has to fails it with the packet's way drawn, hop by hop.
func testShop(t *testing.T) {
	t.Helper()
	cluster := labtest.Load(t, "testdata/shop.yaml") // kubectl get node,pod,svc,endpointslice -A -o yaml
	l := labtest.New(t, cluster)
	labtest.Prove(t, l, proof.Selector{Service: "default/shop"})
}

func Example() {
	_ = testShop
}
