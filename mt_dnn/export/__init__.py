"""The way out: a trained model's encoder and one head as an ordinary Hugging Face folder, with a card, and as ONNX.

`source` finds the model and the encoder that it began with; `heads` says where a family of encoders keeps a head like
ours; `custom_model` is the code that goes along where it keeps none; `folder`, `card` and `onnx_file` write; `check`
compares what was written with our model; `write` is all of it in order.
"""
