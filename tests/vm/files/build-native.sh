# In a chroot that has one kernel's headers and the same kernel's source: builds gpio-sim and vimc,
# and lgpio's Python module from /root/sources. sh build-native.sh linux-source-6.12
set -eu
version=$(ls /lib/modules)
mkdir -p /root/kernel /root/gpio /root/built
tar -xJf "/usr/src/$1.tar.xz" -C /root/kernel --strip-components=1 --wildcards \
  '*/drivers/gpio/gpio-sim.c' '*/kernel/irq/irq_sim.c' '*/drivers/media/test-drivers/vimc/*'

# irq_sim is not a module of its own, and a module may not call what it calls: use the exported way.
cp /root/kernel/drivers/gpio/gpio-sim.c /root/kernel/kernel/irq/irq_sim.c /root/gpio/
sed -i 's/handle_simple_irq(irq_to_desc(irqnum))/generic_handle_irq(irqnum)/' /root/gpio/irq_sim.c
cat > /root/gpio/Kbuild <<'KBUILD'
obj-m := gpio-sim-vm.o
gpio-sim-vm-y := gpio-sim.o irq_sim.o
KBUILD
make -C "/lib/modules/$version/build" M=/root/gpio modules
make -C "/lib/modules/$version/build" M=/root/kernel/drivers/media/test-drivers/vimc \
  CONFIG_VIDEO_VIMC=m modules
cp /root/gpio/gpio-sim-vm.ko /root/kernel/drivers/media/test-drivers/vimc/vimc.ko /root/built/
strip --strip-debug /root/built/*.ko

PYPI=1 python3 -m pip wheel --quiet --no-deps --no-build-isolation --no-index \
  --wheel-dir /root/built /root/sources/lgpio-*.tar.gz
echo "$version" > /root/built/version
