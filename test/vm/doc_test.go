// Package vm_test runs natlab in VMs, on kernels other than the machine's own. It is built with -tags vm only, by
// `make test-vm`: a VM needs qemu, and the first boot of a kernel fetches it.
package vm_test
