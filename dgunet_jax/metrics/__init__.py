"""PSNR and SSIM, as the benchmarks of image restoration compute them.

SciPy and scikit-image are imported when an SSIM is computed: training needs PSNR alone.
"""

from dgunet_jax.metrics._alignment import align, aligned_scores, opencv
from dgunet_jax.metrics._psnr import psnr, psnr_jax, studio_luma
from dgunet_jax.metrics._seams import seams
from dgunet_jax.metrics._ssim import ssim_uniform, ssim_volume, ssim_wang

__all__ = ["align", "aligned_scores", "opencv", "psnr", "psnr_jax", "seams", "ssim_uniform"]
__all__ += ["ssim_volume", "ssim_wang", "studio_luma"]
