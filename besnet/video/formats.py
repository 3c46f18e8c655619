"""The containers and codecs that are read: those in use whose decoders have been searched for faults for years.

docs/videos.md has the same list for users.
"""

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpeg", "mpegts", "flv", "asf", "ogg", "dv", "mxf", "gif",
           "yuv4mpegpipe")  # fmt: skip
IN_USE = ("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "mpeg4", "mpeg1video", "mpeg2video", "msmpeg4v1",
          "msmpeg4v2", "msmpeg4", "h263", "flv", "mjpeg", "wmv1", "wmv2", "wmv3", "vc1", "theora", "svq1",
          "svq3", "cinepak")  # fmt: skip
# What laboratories keep their recordings in: without loss, or for editing.
KEPT = ("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "dvvideo", "prores", "dnxhd", "cfhd",
           "v210", "qtrle", "png", "gif", "msrle", "msvideo1")  # fmt: skip
CODECS = IN_USE + KEPT
# Opening a container also probes its sound: without a decoder for it libavformat reads on and on to guess.
SOUND = ("aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "mp1float", "ac3", "eac3", "opus", "vorbis", "flac",
         "amrnb", "amrwb", "wmav1", "wmav2", "pcm_s16le", "pcm_s16be", "pcm_u8", "pcm_alaw", "pcm_mulaw", "adpcm_ms",
         "adpcm_ima_wav", "adpcm_swf", "nellymoser", "speex", "alac")  # fmt: skip

CONVERT = "convert it first: ffmpeg -i VIDEO -c:v libx264 -crf 18 -pix_fmt yuv420p VIDEO.mp4"
