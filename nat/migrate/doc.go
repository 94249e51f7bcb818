// Package migrate tells what the clients of a cluster find otherwise once its kube-proxies run in another mode: every flow that one could
// ask is predicted by the emulator under the rules of both modes, and each difference is named as one that is documented, or as one that is
// not. Nothing is asked of a kernel here; who wants packets asks the Questions in a lab of each mode.
package migrate
